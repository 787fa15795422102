package store

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/postroom/postroom/internal/trace"
)

// maxTrace is how many octets the steps of one trace take.
const maxTrace = 2 << 10

// record writes what was decided, in one pipeline.
func (a *attempt) record(ctx context.Context) error {
	batch := &pgx.Batch{}
	a.queueVariants(batch)
	a.queueActivities(batch)
	a.queueUpgrades(batch)
	a.queueParties(batch)
	a.queueAttachments(batch)
	a.queueItems(batch)
	a.queueSightings(batch)
	a.queueEvents(batch)
	a.queueTraces(batch)
	a.queueOutcomes(batch)
	a.queueClosed(batch)
	a.queueCursor(batch)
	if batch.Len() == 0 {
		return nil
	}
	if err := a.tx.SendBatch(ctx, batch).Close(); err != nil {
		return fmt.Errorf("record what was decided: %w", err)
	}
	return nil
}

func (a *attempt) queueItems(batch *pgx.Batch) {
	var receipts, rawIDs, offsets, octets []int64
	var ordinals []int32
	var outcomes, paths []string
	var reasons []*string
	var emails []*uuid.UUID
	var mailboxes []*int64
	for it := range a.decided {
		receipts, ordinals = append(receipts, it.m.rowID), append(ordinals, int32(it.Ordinal))
		outcomes, reasons = append(outcomes, string(it.outcome.Outcome)), append(reasons, textOrNull(string(it.outcome.Reason)))
		var email *uuid.UUID
		if it.email != nil {
			email = &it.email.id
		}
		emails, mailboxes = append(emails, email), append(mailboxes, a.idIfAlive(it.MailboxID))
		paths, rawIDs = append(paths, clean(it.Path, maxShort)), append(rawIDs, it.rawID)
		offsets, octets = append(offsets, it.Offset), append(octets, it.Octets)
	}
	if len(receipts) == 0 {
		return
	}
	batch.Queue(`
		INSERT INTO item (receipt_id, ordinal, outcome, reason, email_id, mailbox_id, path, raw_id, raw_offset, octets)
		SELECT * FROM unnest($1::bigint[], $2::integer[], $3::text[], $4::text[], $5::uuid[], $6::bigint[], $7::text[],
			$8::bigint[], $9::bigint[], $10::bigint[])`,
		receipts, ordinals, outcomes, reasons, emails, mailboxes, paths, rawIDs, offsets, octets)
}

// decided calls yield for each item that this transaction writes, in the batch's order.
func (a *attempt) decided(yield func(*item) bool) {
	for i := range a.messages {
		if !a.messages[i].written {
			continue
		}
		for _, it := range a.messages[i].items {
			if !yield(it) {
				return
			}
		}
	}
}

// idIfAlive returns nil for a mailbox that is not known, or was deleted since.
func (a *attempt) idIfAlive(mailboxID int64) *int64 {
	if !a.alive[mailboxID] {
		return nil
	}
	return &mailboxID
}

func (a *attempt) queueSightings(batch *pgx.Batch) {
	var emails []*uuid.UUID
	var mailboxes, receipts, lengths []int64
	var ordinals, attachments []int32
	var vias []*int64
	var sums, texts, heads, attachmentSums [][]byte
	var authenticated []bool
	var how []string
	for it := range a.decided {
		if !it.sights {
			continue
		}
		c, known := &it.Content, it.Content.Known()
		emails, mailboxes = append(emails, &it.email.id), append(mailboxes, it.MailboxID)
		receipts, ordinals = append(receipts, it.m.rowID), append(ordinals, int32(it.Ordinal))
		vias, sums = append(vias, a.idIfAlive(it.ViaID)), append(sums, c.SHA256[:])
		texts, lengths = append(texts, c.TextDigest[:]), append(lengths, known.TextOctets)
		heads = append(heads, nonNil(known.TextHeads))
		attachmentSums, attachments = append(attachmentSums, c.AttachmentsDigest[:]), append(attachments, int32(c.Attachments))
		authenticated, how = append(authenticated, c.Authenticated), append(how, clean(c.Authentication, maxShort))
	}
	if len(emails) == 0 {
		return
	}
	batch.Queue(`
		INSERT INTO sighting (sighting_id, email_id, mailbox_id, receipt_id, ordinal, via_mailbox_id, sha256, text_digest,
			text_length, text_heads, attachments_digest, attachments, authenticated, authentication)
		SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::bigint[], $4::bigint[], $5::integer[], $6::bigint[], $7::bytea[],
			$8::bytea[], $9::bigint[], $10::bytea[], $11::bytea[], $12::integer[], $13::boolean[], $14::text[])
		ON CONFLICT (email_id, mailbox_id, sha256) DO NOTHING`,
		newIDs(len(emails)), emails, mailboxes, receipts, ordinals, vias, sums, texts, lengths, heads, attachmentSums,
		attachments, authenticated, how)
}

// nonNil returns octets that are not NULL in an array.
func nonNil(octets []byte) []byte {
	if octets == nil {
		return []byte{}
	}
	return octets
}

// queueEvents tells what happened, in the batch's order: activities that were created, the conflicts among them, copies
// that were sighted, and last what was upgraded.
func (a *attempt) queueEvents(batch *pgx.Batch) {
	var kinds []string
	var activities []*uuid.UUID
	var versions []int32
	tell := func(kind string, e *email, version int) {
		kinds, activities, versions = append(kinds, kind), append(activities, &e.shown.id), append(versions, int32(version))
	}
	for it := range a.decided {
		switch e := it.email; {
		case e == nil || e.shown == nil:
		case e.created && e.here[0] == it:
			tell("activity.created", e, e.shown.version)
			if e.conflictOf != nil {
				tell("email.conflict", e, e.shown.version)
			}
		case it.sights:
			tell("activity.sighted", e, e.shown.version)
		}
	}
	for _, e := range a.upgraded() {
		tell("activity.upgraded", e, e.shown.version)
	}
	if len(kinds) == 0 {
		return
	}
	batch.Queue(`
		INSERT INTO event (kind, activity_id, version)
		SELECT kind, activity_id, version FROM unnest($1::text[], $2::uuid[], $3::integer[]) WITH ORDINALITY
			AS t (kind, activity_id, version, n) ORDER BY n`, kinds, activities, versions)
}

func (a *attempt) queueTraces(batch *pgx.Batch) {
	var receipts []int64
	var steps []string
	for i := range a.messages {
		if m := &a.messages[i]; m.written && len(m.trace) > 0 {
			receipts, steps = append(receipts, m.rowID), append(steps, fitTrace(m.trace))
		}
	}
	if len(receipts) == 0 {
		return
	}
	batch.Queue(`
		INSERT INTO trace (receipt_id, steps)
		SELECT receipt_id, steps::jsonb FROM unnest($1::bigint[], $2::text[]) AS t (receipt_id, steps)`, receipts, steps)
}

// fitTrace returns the steps as JSON of at most maxTrace octets. Of a longer trace the first and the last steps are
// kept, and one that says how many are left out.
func fitTrace(t trace.Trace) string {
	const reserve = 96 // the step that says so
	texts := make([]string, len(t))
	total := 2
	for i := range t {
		texts[i] = stepJSON(t[i])
		total += len(texts[i]) + 1
	}
	if total <= maxTrace {
		return joinJSON(texts)
	}
	head, tail, left := 0, len(texts), maxTrace-reserve
	for front := true; head < tail; front = !front {
		at := head
		if !front {
			at = tail - 1
		}
		if left -= len(texts[at]) + 1; left < 0 {
			break
		}
		if front {
			head++
		} else {
			tail--
		}
	}
	var cut trace.Trace
	cut.Add(trace.Record, "steps_cut", "steps", strconv.Itoa(tail-head))
	return joinJSON(slices.Concat(texts[:head], []string{stepJSON(cut[0])}, texts[tail:]))
}

func joinJSON(texts []string) string {
	out := []byte{'['}
	for i, text := range texts {
		if i > 0 {
			out = append(out, ',')
		}
		out = append(out, text...)
	}
	return string(append(out, ']'))
}

// stepJSON returns a step fit for jsonb, which refuses NUL, with its arguments cut to their length.
func stepJSON(s trace.Step) string {
	clone := trace.Step{Stage: s.Stage, Code: s.Code, Item: s.Item}
	for _, name := range slices.Sorted(maps.Keys(s.Args)) {
		if clone.Args == nil {
			clone.Args = make(map[string]string, len(s.Args))
		}
		clone.Args[clean(name, trace.ArgOctets)] = clean(s.Args[name], trace.ArgOctets+len("…"))
	}
	clone.Stage, clone.Code = trace.Stage(clean(string(s.Stage), trace.ArgOctets)), trace.Code(clean(string(s.Code), trace.ArgOctets))
	text, err := json.Marshal(clone)
	if err != nil {
		return "{}" // strings can always be marshalled
	}
	return string(text)
}
