package store

import (
	"crypto/sha256"
	"strconv"

	"github.com/google/uuid"

	"github.com/postroom/postroom/internal/activity"
	"github.com/postroom/postroom/internal/receipt"
	"github.com/postroom/postroom/internal/trace"
)

// compare compares a copy with those that were met before this batch. When nothing is kept of them, because they were
// met in mailboxes that were deleted, only the text that the activity shows can tell.
func (e *email) compare(c *activity.Content) activity.Likeness {
	if len(e.known) == 0 && len(e.here) == 0 {
		return activity.NeedsWords
	}
	likeness := activity.Different
	for _, k := range e.known {
		switch l := c.Compare(k); l {
		case activity.Same:
			return l
		case activity.Likely, activity.NeedsWords:
			if likeness != activity.Likely {
				likeness = l
			}
		case activity.Different:
		}
	}
	return likeness
}

// is reports whether a copy is one of this e-mail.
func (e *email) is(c *activity.Content) bool {
	switch likeness := e.compare(c); likeness {
	case activity.Same:
		return true
	case activity.Likely, activity.NeedsWords:
		if e.shown == nil && (likeness == activity.Likely || len(e.known) == 0) {
			return true // deleted with its text: what is a copy of it, as far as can be told, must not bring it back
		}
		if e.text != nil && activity.SameText(c.Text, *e.text) {
			return true
		}
	case activity.Different:
	}
	for _, it := range e.here {
		switch c.Compare(it.Content.Known()) {
		case activity.Same:
			return true
		case activity.Likely, activity.NeedsWords:
			if activity.SameText(c.Text, it.Content.Text) {
				return true
			}
		case activity.Different:
		}
	}
	return false
}

// decide gives each item its outcome, in the batch's order, so that duplicates within the batch find each other.
func (a *attempt) decide() {
	for i := range a.messages {
		for _, it := range a.messages[i].items {
			switch {
			case !it.m.written:
			case it.Plan != receipt.Recorded:
				it.outcome = receipt.ItemResult{Outcome: it.Plan, Reason: it.Reason}
			case !a.alive[it.MailboxID]:
				it.outcome = receipt.ItemResult{Outcome: receipt.Quarantined, Reason: receipt.UnknownRecipient}
				it.step("recipient_gone", "mailbox_id", strconv.FormatInt(it.MailboxID, 10))
			default:
				a.place(it)
			}
		}
	}
}

// place finds the e-mail that an item is a copy of, or makes one.
func (a *attempt) place(it *item) {
	candidates := a.mail.byIdentity[it.Email.Key]
	for _, e := range candidates {
		if a.mail.inserted[e.id] && len(e.here) == 0 {
			e.create(it)
			return
		}
		if e.is(&it.Content) {
			e.meet(it)
			return
		}
	}
	if len(candidates) >= maxVariants {
		it.outcome = receipt.ItemResult{Outcome: receipt.Quarantined, Reason: receipt.TooManyVariants}
		it.step("too_many_variants", "variants", strconv.Itoa(len(candidates)))
		return
	}
	first, last := candidates[0], candidates[len(candidates)-1]
	e := &email{
		id: newID(), identity: it.Email.Key, version: it.Email.Version, variant: last.variant + 1,
		conflictOf: &first.id, digest: it.Email.MessageIDDigest,
	}
	a.add(e)
	e.create(it)
	it.outcome.Conflict = true
	it.step("conflict", "conflict_of", first.id.String())
}

// create makes the e-mail's activity from its first copy.
func (e *email) create(it *item) {
	id := it.Activity.ID
	if id == uuid.Nil {
		id = newID()
	}
	e.created, e.best = true, it
	e.shown = &shown{id: id, version: 1, authenticated: it.Content.Authenticated, attachments: it.Content.Attachments, words: it.words()}
	e.sight(it)
	it.outcome = receipt.ItemResult{Outcome: receipt.Recorded, EmailID: e.id.String(), ActivityID: id.String()}
	it.step("recorded", "activity_id", id.String())
}

// meet adds a copy to an e-mail that was recorded before. A better one becomes what the activity shows; a worse one
// changes nothing. A deleted record does not come back.
func (e *email) meet(it *item) {
	it.email = e
	it.outcome = receipt.ItemResult{Outcome: receipt.Duplicate, EmailID: e.id.String(), Conflict: e.variant > 0}
	if e.shown == nil {
		it.outcome.Outcome, it.outcome.Reason = receipt.Ignored, receipt.Deleted
		it.step("deleted", "email_id", e.id.String())
		return
	}
	it.outcome.ActivityID = e.shown.id.String()
	it.step("duplicate", "email_id", e.id.String(), "activity_id", e.shown.id.String())
	e.sight(it)
	if words := it.words(); it.Content.Better(e.shown.authenticated, e.shown.attachments, words == e.shown.words) {
		if !e.created && e.best == nil {
			e.shown.version++
		}
		e.best, it.outcome.Upgraded = it, true
		e.shown.authenticated, e.shown.attachments, e.shown.words = it.Content.Authenticated, it.Content.Attachments, words
		it.step("upgraded", "activity_id", e.shown.id.String())
	}
}

func (e *email) sight(it *item) {
	it.email = e
	e.here = append(e.here, it)
	key := sightKey{it.MailboxID, it.Content.SHA256}
	it.sights = !e.sighted[key]
	e.sighted[key] = true
}

// words returns a digest of what a reader sees of a copy: its normalised text and its HTML.
func (it *item) words() (sum [32]byte) {
	h := sha256.New()
	h.Write([]byte(it.Content.Text))
	h.Write([]byte{0})
	h.Write([]byte(it.Activity.HTML))
	h.Sum(sum[:0])
	return sum
}

// step adds to the trace what the writer found.
func (it *item) step(code trace.Code, args ...string) {
	it.m.trace.AddItem(it.Ordinal, trace.Record, code, args...)
}
