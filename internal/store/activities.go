package store

import (
	"encoding/json"
	"slices"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/postroom/postroom/internal/activity"
)

// activityColumns are activities as arrays, for unnest.
type activityColumns struct {
	ids, emailIDs, parents         []*uuid.UUID
	versions                       []int32
	directions, classes            []string
	mailboxIDs                     []int64
	ownerIDs, correlations         []*string
	subjects                       []string
	messageIDs                     []*string
	inReplyTos, references         []string // JSON arrays: unnest takes no arrays of unequal length
	sentAts                        []*time.Time
	sentOffsets                    []*int32
	sentRaws                       []*string
	sentSources                    []string
	receivedAts                    []*time.Time
	authenticated, truncated       []bool
	texts, htmls                   []string
	words                          [][]byte
	attachments                    []int32
	defects                        []string // JSON arrays
	rawIDs, rawOffsets, rawLengths []int64
}

// add appends the activity of e as its best copy shows it. Whose it is stays with its first copy.
func (c *activityColumns) add(e *email) {
	it := e.best
	act := it.Activity
	c.ids, c.emailIDs, c.parents = append(c.ids, &e.shown.id), append(c.emailIDs, &e.id), append(c.parents, e.shown.parent)
	c.versions = append(c.versions, int32(e.shown.version))
	c.directions, c.classes = append(c.directions, clean(act.Direction, maxShort)), append(c.classes, clean(act.Class, maxShort))
	first := e.here[0]
	c.mailboxIDs = append(c.mailboxIDs, first.MailboxID)
	c.ownerIDs = append(c.ownerIDs, textOrNull(clean(first.Activity.OwnerID, maxShort)))
	c.correlations = append(c.correlations, textOrNull(e.shown.correlation))
	c.subjects = append(c.subjects, clean(act.Subject, maxSubject))
	c.messageIDs = append(c.messageIDs, textOrNull(clean(act.MessageID, maxMessageID)))
	c.inReplyTos, c.references = append(c.inReplyTos, jsonIDs(act.InReplyTo)), append(c.references, jsonIDs(act.References))
	c.addSent(act)
	received := timeOrNull(act.ReceivedAt)
	if received == nil {
		received = timeOrNull(it.m.r.SeenAt)
	}
	c.receivedAts = append(c.receivedAts, received)
	c.authenticated = append(c.authenticated, it.Content.Authenticated)
	c.truncated = append(c.truncated, act.BodyTruncated || len(act.Text) > maxBody || len(act.HTML) > maxBody)
	c.texts, c.htmls = append(c.texts, clean(act.Text, maxBody)), append(c.htmls, clean(act.HTML, maxBody))
	words := it.words()
	c.words = append(c.words, words[:])
	c.attachments = append(c.attachments, int32(it.Content.Attachments))
	c.addDefects(act)
	c.rawIDs, c.rawOffsets, c.rawLengths = append(c.rawIDs, it.rawID), append(c.rawOffsets, it.Offset), append(c.rawLengths, it.Octets)
}

func (c *activityColumns) addSent(act *activity.Activity) {
	at, src := timeOrNull(act.SentAt), act.SentSource
	var offset *int32
	if at == nil || src == activity.SentNone || src == "" {
		at, src = nil, activity.SentNone
	} else {
		offset = new(int32(act.SentOffset))
	}
	c.sentAts, c.sentSources, c.sentOffsets = append(c.sentAts, at), append(c.sentSources, string(src)), append(c.sentOffsets, offset)
	c.sentRaws = append(c.sentRaws, textOrNull(clean(act.SentRaw, maxShort)))
}

func (c *activityColumns) addDefects(act *activity.Activity) {
	defects := cleanList(act.Defects, maxDefects, maxShort)
	if len(act.Parties) > maxParties {
		defects = append(defects, "parties_cut")
	}
	if len(act.Attachments) > maxAttachments {
		defects = append(defects, "attachments_cut")
	}
	c.defects = append(c.defects, jsonList(defects))
}

// jsonIDs keeps the last ids of a list: the nearest, if there are too many.
func jsonIDs(ids []string) string {
	return jsonList(cleanList(ids[max(0, len(ids)-maxIDs):], maxIDs, maxMessageID))
}

func jsonList(list []string) string {
	text, err := json.Marshal(list)
	if err != nil {
		return "[]" // strings can always be marshalled
	}
	return string(text)
}

func (a *attempt) queueActivities(batch *pgx.Batch) {
	var c activityColumns
	for _, e := range a.created() {
		c.add(e)
	}
	if len(c.ids) == 0 {
		return
	}
	batch.Queue(`
		INSERT INTO activity (activity_id, email_id, direction, status, class, mailbox_id, owner_id, parent_activity_id,
			correlation, subject, message_id, in_reply_to, reference_ids, sent_at, sent_offset, sent_raw, sent_source,
			received_at, authenticated, text_body, html_body, body_truncated, attachments, defects, raw_id, raw_offset, octets, words_digest)
		SELECT t.activity_id, t.email_id, t.direction, 'received', t.class, t.mailbox_id, t.owner_id, t.parent, t.correlation,
			t.subject, t.message_id, ARRAY(SELECT jsonb_array_elements_text(t.in_reply_to::jsonb)),
			ARRAY(SELECT jsonb_array_elements_text(t.reference_ids::jsonb)), t.sent_at, t.sent_offset, t.sent_raw, t.sent_source,
			coalesce(t.received_at, now()), t.authenticated, t.text_body, t.html_body, t.truncated, t.attachments,
			ARRAY(SELECT jsonb_array_elements_text(t.defects::jsonb)), t.raw_id, t.raw_offset, t.octets, t.words
		FROM unnest($1::uuid[], $2::uuid[], $3::text[], $4::text[], $5::bigint[], $6::text[], $7::uuid[], $8::text[], $9::text[],
			$10::text[], $11::text[], $12::text[], $13::timestamptz[], $14::integer[], $15::text[], $16::text[],
			$17::timestamptz[], $18::boolean[], $19::text[], $20::text[], $21::boolean[], $22::integer[], $23::text[],
			$24::bigint[], $25::bigint[], $26::bigint[], $27::bytea[])
			AS t (activity_id, email_id, direction, class, mailbox_id, owner_id, parent, correlation, subject, message_id,
			in_reply_to, reference_ids, sent_at, sent_offset, sent_raw, sent_source, received_at, authenticated, text_body,
			html_body, truncated, attachments, defects, raw_id, raw_offset, octets, words)`,
		c.ids, c.emailIDs, c.directions, c.classes, c.mailboxIDs, c.ownerIDs, c.parents, c.correlations, c.subjects,
		c.messageIDs, c.inReplyTos, c.references, c.sentAts, c.sentOffsets, c.sentRaws, c.sentSources, c.receivedAts,
		c.authenticated, c.texts, c.htmls, c.truncated, c.attachments, c.defects, c.rawIDs, c.rawOffsets, c.rawLengths,
		c.words)
}

// queueUpgrades makes activities show a better copy, in place. Whose it is, when it came and what it answers stay.
func (a *attempt) queueUpgrades(batch *pgx.Batch) {
	var c activityColumns
	for _, e := range a.upgraded() {
		c.add(e)
	}
	if len(c.ids) == 0 {
		return
	}
	batch.Queue(`
		UPDATE activity a SET version = t.version, updated_at = now(), class = t.class, subject = t.subject,
			message_id = t.message_id, in_reply_to = ARRAY(SELECT jsonb_array_elements_text(t.in_reply_to::jsonb)),
			reference_ids = ARRAY(SELECT jsonb_array_elements_text(t.reference_ids::jsonb)), sent_at = t.sent_at,
			sent_offset = t.sent_offset, sent_raw = t.sent_raw, sent_source = t.sent_source, authenticated = t.authenticated,
			text_body = t.text_body, html_body = t.html_body, body_truncated = t.truncated, attachments = t.attachments,
			defects = ARRAY(SELECT jsonb_array_elements_text(t.defects::jsonb)), raw_id = t.raw_id, raw_offset = t.raw_offset,
			octets = t.octets, words_digest = t.words
		FROM unnest($1::uuid[], $2::integer[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::timestamptz[],
			$9::integer[], $10::text[], $11::text[], $12::boolean[], $13::text[], $14::text[], $15::boolean[], $16::integer[],
			$17::text[], $18::bigint[], $19::bigint[], $20::bigint[], $21::bytea[])
			AS t (activity_id, version, class, subject, message_id, in_reply_to, reference_ids, sent_at, sent_offset, sent_raw,
			sent_source, authenticated, text_body, html_body, truncated, attachments, defects, raw_id, raw_offset, octets, words)
		WHERE a.activity_id = t.activity_id AND a.version = t.version - 1`,
		c.ids, c.versions, c.classes, c.subjects, c.messageIDs, c.inReplyTos, c.references, c.sentAts, c.sentOffsets, c.sentRaws,
		c.sentSources, c.authenticated, c.texts, c.htmls, c.truncated, c.attachments, c.defects, c.rawIDs, c.rawOffsets,
		c.rawLengths, c.words).Exec(expectRows("upgraded activities", len(c.ids)))
	batch.Queue(`DELETE FROM attachment WHERE activity_id = ANY ($1::uuid[])`, c.ids)
	batch.Queue(`DELETE FROM party WHERE activity_id = ANY ($1::uuid[]) AND role NOT IN ('recipient_mailbox', 'owner')`, c.ids)
}

// queueAttachments enters the attachments of created and upgraded activities.
func (a *attempt) queueAttachments(batch *pgx.Batch) {
	var ids []*uuid.UUID
	var ordinals []int32
	var paths, filenames, mediaTypes, contentIDs, encodings []string
	var inline []bool
	var octets, offsets, lengths []int64
	var sums [][]byte
	for _, e := range slices.Concat(a.created(), a.upgraded()) {
		list := e.best.Activity.Attachments
		for i := range list[:min(len(list), maxAttachments)] {
			at := &list[i]
			ids, ordinals = append(ids, &e.shown.id), append(ordinals, int32(i+1))
			paths, filenames = append(paths, clean(at.Path, maxShort)), append(filenames, clean(at.Filename, maxName))
			mediaTypes, contentIDs = append(mediaTypes, clean(at.MediaType, maxShort)), append(contentIDs, clean(at.ContentID, maxName))
			inline, encodings = append(inline, at.Inline), append(encodings, at.Encoding)
			octets, offsets, lengths = append(octets, at.Octets), append(offsets, at.Offset), append(lengths, at.Length)
			sums = append(sums, at.SHA256[:])
		}
	}
	if len(ids) == 0 {
		return
	}
	batch.Queue(`
		INSERT INTO attachment (activity_id, ordinal, path, filename, media_type, content_id, is_inline, octets, sha256,
			raw_offset, raw_length, encoding)
		SELECT * FROM unnest($1::uuid[], $2::integer[], $3::text[], $4::text[], $5::text[], $6::text[], $7::boolean[],
			$8::bigint[], $9::bytea[], $10::bigint[], $11::bigint[], $12::text[])`,
		ids, ordinals, paths, filenames, mediaTypes, contentIDs, inline, octets, sums, offsets, lengths, encodings)
}

// queueParents looks for the activities that the batch's mail answers: the oldest one with each Message-ID. They are
// locked, so that they are still there when they are referred to.
func (a *attempt) queueParents(batch *pgx.Batch) {
	wanted := make(map[string]bool)
	var digests [][]byte
	for it := range a.recorded {
		for _, c := range it.Activity.Correlations {
			if len(c.MessageIDDigest) == 16 && !wanted[string(c.MessageIDDigest)] {
				wanted[string(c.MessageIDDigest)] = true
				digests = append(digests, c.MessageIDDigest)
			}
		}
	}
	if len(digests) == 0 {
		return
	}
	batch.Queue(`
		SELECT d.digest, p.activity_id FROM unnest($1::bytea[]) AS d (digest) CROSS JOIN LATERAL (
			SELECT a.activity_id FROM email e JOIN activity a USING (email_id) WHERE e.message_id_digest = d.digest
			ORDER BY e.email_id LIMIT 1 FOR KEY SHARE OF a) AS p`, digests).
		Query(func(rows pgx.Rows) error {
			var digest []byte
			var id uuid.UUID
			_, err := pgx.ForEachRow(rows, []any{&digest, &id}, func() error {
				a.mail.parents[[16]byte(digest)] = id
				return nil
			})
			return err
		})
}

// correlate finds what each created activity answers: the first of its correlations that was recorded before, or is
// recorded by this batch. Two messages of a batch that claim to answer each other do not become each other's parents.
func (a *attempt) correlate() {
	here := make(map[[16]byte]*email)
	byActivity := make(map[uuid.UUID]*email)
	created := a.created()
	for _, e := range created {
		byActivity[e.shown.id] = e
		if len(e.digest) == 16 && here[[16]byte(e.digest)] == nil {
			here[[16]byte(e.digest)] = e
		}
	}
	for _, e := range created {
		for _, c := range e.best.Activity.Correlations {
			if len(c.MessageIDDigest) != 16 {
				continue
			}
			digest := [16]byte(c.MessageIDDigest)
			parent, ok := a.mail.parents[digest]
			if p := here[digest]; !ok && p != nil && !descends(p, e, byActivity) {
				parent, ok = p.shown.id, true
			}
			if ok {
				e.shown.parent, e.shown.correlation = &parent, c.Method
				e.here[0].step("correlated", "activity_id", parent.String(), "method", c.Method)
				break
			}
		}
	}
}

// descends reports whether e is ancestor, or answers it over others of this batch.
func descends(e, ancestor *email, byActivity map[uuid.UUID]*email) bool {
	for e != nil {
		if e == ancestor {
			return true
		}
		if e.shown.parent == nil {
			return false
		}
		e = byActivity[*e.shown.parent]
	}
	return false
}
