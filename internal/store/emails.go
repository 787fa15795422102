package store

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/postroom/postroom/internal/activity"
	"github.com/postroom/postroom/internal/fault"
	"github.com/postroom/postroom/internal/receipt"
)

// maxVariants is how many messages with different texts may claim one identity. More go to quarantine: each new one is
// compared with all.
const maxVariants = 50

// email is an e-mail as this transaction knows it. Its identity is locked, or made by this transaction.
type email struct {
	id         uuid.UUID
	identity   [32]byte
	version    int
	variant    int
	conflictOf *uuid.UUID
	digest     []byte // of its Message-ID

	shown   *shown           // nil: it has no activity
	known   []activity.Known // copies that were met before
	text    *string          // normalised, of the shown copy; loaded when it is needed
	sighted map[sightKey]bool

	here    []*item // copies in this batch
	created bool    // its activity is made by this transaction, from here[0]
	best    *item   // the copy of this batch that the activity is to show; nil: it stays as it is
}

// shown is the activity of an e-mail.
type shown struct {
	id            uuid.UUID
	version       int
	authenticated bool
	attachments   int
	words         [32]byte   // see item.words
	parent        *uuid.UUID // of a created one
	correlation   string
}

type sightKey struct {
	mailboxID int64
	sha256    [32]byte
}

// ledger is what is known of the e-mails that a batch meets.
type ledger struct {
	byIdentity map[[32]byte][]*email // by variant
	byID       map[uuid.UUID]*email
	inserted   map[uuid.UUID]bool     // variant 0, by this transaction
	parents    map[[16]byte]uuid.UUID // activities by the digest of their Message-ID
}

// recorded calls yield for each item that is to have a record, in the batch's order.
func (a *attempt) recorded(yield func(*item) bool) {
	for i := range a.messages {
		for _, it := range a.messages[i].items {
			if it.m.written && it.Plan == receipt.Recorded && a.alive[it.MailboxID] && !yield(it) {
				return
			}
		}
	}
}

// meetEmails enters the identities that are new, locks the candidates in the order of their identities, and reads what
// decides: their activities and the copies that were met before.
func (a *attempt) meetEmails(ctx context.Context) error {
	a.mail = ledger{
		byIdentity: make(map[[32]byte][]*email), byID: make(map[uuid.UUID]*email),
		inserted: make(map[uuid.UUID]bool), parents: make(map[[16]byte]uuid.UUID),
	}
	claims := make(map[[32]byte]*activity.Identity)
	for it := range a.recorded {
		claims[it.Email.Key] = &it.Email
	}
	if len(claims) == 0 {
		return nil
	}
	keys := slices.SortedFunc(maps.Keys(claims), func(x, y [32]byte) int { return slices.Compare(x[:], y[:]) })
	identities := make([][]byte, len(keys))
	for i := range keys {
		identities[i] = keys[i][:]
	}
	batch := &pgx.Batch{}
	a.queueIdentities(batch, identities, claims)
	a.queueCandidates(batch, identities)
	a.queueCopies(batch, identities)
	a.queueParents(batch)
	if err := a.tx.SendBatch(ctx, batch).Close(); err != nil {
		return fmt.Errorf("find the e-mails: %w", err)
	}
	return a.loadTexts(ctx)
}

func (a *attempt) queueIdentities(batch *pgx.Batch, identities [][]byte, claims map[[32]byte]*activity.Identity) {
	ids := newIDs(len(identities))
	versions, digests := make([]int32, len(ids)), make([][]byte, len(ids))
	for i, key := range identities {
		claim := claims[[32]byte(key)]
		versions[i], digests[i] = int32(claim.Version), claim.MessageIDDigest
	}
	batch.Queue(`
		INSERT INTO email (email_id, identity, identity_version, message_id_digest)
		SELECT email_id, identity, version, digest
		FROM unnest($1::uuid[], $2::bytea[], $3::integer[], $4::bytea[]) AS t (email_id, identity, version, digest)
		ORDER BY identity
		ON CONFLICT (identity, variant) DO NOTHING
		RETURNING email_id`, ids, identities, versions, digests).Query(func(rows pgx.Rows) error {
		var id uuid.UUID
		_, err := pgx.ForEachRow(rows, []any{&id}, func() error {
			a.mail.inserted[id] = true
			return nil
		})
		return err
	})
}

// newID returns an id of version 7. It panics when the system has no randomness, as crypto/rand itself does.
func newID() uuid.UUID { return uuid.Must(uuid.NewV7()) }

// newIDs returns n ids of version 7, in order.
func newIDs(n int) []uuid.UUID {
	ids := make([]uuid.UUID, n)
	for i := range ids {
		ids[i] = newID()
	}
	return ids
}

// queueCandidates locks the first e-mail of each identity, which guards its variants, and only then reads: a statement
// does not see what was committed while it waited for its locks.
func (a *attempt) queueCandidates(batch *pgx.Batch, identities [][]byte) {
	batch.Queue(`SELECT FROM email WHERE identity = ANY ($1::bytea[]) AND variant = 0 ORDER BY identity FOR NO KEY UPDATE`, identities)
	batch.Queue(`
		SELECT email_id, identity, identity_version, variant, message_id_digest FROM email
		WHERE identity = ANY ($1::bytea[]) ORDER BY identity, variant`, identities).
		Query(func(rows pgx.Rows) error {
			var e email
			var identity []byte
			_, err := pgx.ForEachRow(rows, []any{&e.id, &identity, &e.version, &e.variant, &e.digest}, func() error {
				e.identity = [32]byte(identity)
				a.add(&email{id: e.id, identity: e.identity, version: e.version, variant: e.variant, digest: slices.Clone(e.digest)})
				return nil
			})
			return err
		})
	batch.Queue(`
		SELECT a.email_id, a.activity_id, a.version, a.authenticated, a.attachments, a.words_digest
		FROM email e JOIN activity a USING (email_id)
		WHERE e.identity = ANY ($1::bytea[]) ORDER BY e.identity, e.variant FOR NO KEY UPDATE OF a`, identities).
		Query(func(rows pgx.Rows) error {
			var id uuid.UUID
			var s shown
			var words []byte
			_, err := pgx.ForEachRow(rows, []any{&id, &s.id, &s.version, &s.authenticated, &s.attachments, &words}, func() error {
				s.words = [32]byte(words)
				a.mail.byID[id].shown = new(s)
				return nil
			})
			return err
		})
}

func (a *attempt) add(e *email) {
	e.sighted = make(map[sightKey]bool)
	a.mail.byIdentity[e.identity] = append(a.mail.byIdentity[e.identity], e)
	a.mail.byID[e.id] = e
}

// queueCopies reads what is kept of the copies met before, and which of this batch's were met in the same mailbox.
func (a *attempt) queueCopies(batch *pgx.Batch, identities [][]byte) {
	batch.Queue(`
		SELECT DISTINCT s.email_id, s.text_digest, s.text_length, s.text_heads, s.attachments_digest, s.attachments
		FROM email e JOIN sighting s USING (email_id) WHERE e.identity = ANY ($1::bytea[])
		ORDER BY s.email_id, s.text_digest, s.attachments_digest`, identities).
		Query(func(rows pgx.Rows) error {
			var id uuid.UUID
			var text, heads, attachments []byte
			var k activity.Known
			_, err := pgx.ForEachRow(rows, []any{&id, &text, &k.TextOctets, &heads, &attachments, &k.Attachments}, func() error {
				k.TextDigest, k.TextHeads, k.AttachmentsDigest = [32]byte(text), slices.Clone(heads), [32]byte(attachments)
				a.mail.byID[id].known = append(a.mail.byID[id].known, k)
				return nil
			})
			return err
		})
	var mailboxes []int64
	var sums [][]byte
	for it := range a.recorded {
		mailboxes = append(mailboxes, it.MailboxID)
		sums = append(sums, it.Content.SHA256[:])
	}
	batch.Queue(`
		SELECT s.email_id, s.mailbox_id, s.sha256 FROM email e JOIN sighting s USING (email_id)
		WHERE e.identity = ANY ($1::bytea[]) AND (s.mailbox_id, s.sha256) IN (SELECT * FROM unnest($2::bigint[], $3::bytea[]))`,
		identities, mailboxes, sums).
		Query(func(rows pgx.Rows) error {
			var id uuid.UUID
			var key sightKey
			var sum []byte
			_, err := pgx.ForEachRow(rows, []any{&id, &key.mailboxID, &sum}, func() error {
				key.sha256 = [32]byte(sum)
				a.mail.byID[id].sighted[key] = true
				return nil
			})
			return err
		})
}

// loadTexts reads the shown texts that are needed because a copy of this batch may be one of them without its footer.
func (a *attempt) loadTexts(ctx context.Context) error {
	var ids []uuid.UUID
	for it := range a.recorded {
		for _, e := range a.mail.byIdentity[it.Email.Key] {
			if e.shown == nil || e.text != nil {
				continue
			}
			switch e.compare(&it.Content) {
			case activity.Likely, activity.NeedsWords:
				e.text = new("")
				ids = append(ids, e.id)
			case activity.Same, activity.Different:
			}
		}
	}
	if len(ids) == 0 {
		return nil
	}
	rows, err := a.tx.Query(ctx, `SELECT email_id, text_body FROM activity WHERE email_id = ANY ($1::uuid[])`, ids)
	if err != nil {
		return fmt.Errorf("read texts to compare: %w", err)
	}
	var id uuid.UUID
	var text string
	_, err = pgx.ForEachRow(rows, []any{&id, &text}, func() error {
		a.mail.byID[id].text = new(activity.NormalizeText(text))
		return nil
	})
	return fault.Wrap(err, "read texts to compare")
}

// queueVariants enters the e-mails that claim an identity which another has.
func (a *attempt) queueVariants(batch *pgx.Batch) {
	var ids, conflicts []uuid.UUID
	var identities, digests [][]byte
	var versions, variants []int32
	for _, e := range a.created() {
		if e.conflictOf == nil {
			continue
		}
		ids, conflicts = append(ids, e.id), append(conflicts, *e.conflictOf)
		identities, digests = append(identities, e.identity[:]), append(digests, e.digest)
		versions, variants = append(versions, int32(e.version)), append(variants, int32(e.variant))
	}
	if len(ids) == 0 {
		return
	}
	batch.Queue(`
		INSERT INTO email (email_id, identity, identity_version, variant, conflict_of, message_id_digest)
		SELECT * FROM unnest($1::uuid[], $2::bytea[], $3::integer[], $4::integer[], $5::uuid[], $6::bytea[])`,
		ids, identities, versions, variants, conflicts, digests)
}

// created returns the e-mails whose activities are made, in the batch's order.
func (a *attempt) created() []*email {
	var out []*email
	for it := range a.recorded {
		if it.email != nil && it.email.created && it.email.here[0] == it {
			out = append(out, it.email)
		}
	}
	return out
}

// upgraded returns the e-mails whose activities are to show another copy, in the order in which they are locked.
func (a *attempt) upgraded() []*email {
	var out []*email
	for _, e := range a.mail.byID {
		if !e.created && e.best != nil {
			out = append(out, e)
		}
	}
	slices.SortFunc(out, byIdentity)
	return out
}
