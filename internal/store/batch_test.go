package store_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"

	"github.com/postroom/postroom/internal/activity"
	"github.com/postroom/postroom/internal/mailbox"
	"github.com/postroom/postroom/internal/receipt"
	"github.com/postroom/postroom/internal/source"
	"github.com/postroom/postroom/internal/store"
	"github.com/postroom/postroom/internal/trace"
)

func TestWriteRecords(t *testing.T) {
	t.Parallel()
	p := newPost(t)
	l := letter{
		id: "a1@x", subject: "Hello", text: "dear ann\n\nbye", attachments: []string{"plan.pdf"},
		to: []string{"ann@example.com", "Team <broken"}, inReplyTo: []string{"p@x"}, references: []string{"r@x", "p@x"},
	}
	b := p.ann.batch(5, l)
	results := p.write(t, p.ann, b)
	expectOutcomes(t, results, "recorded")
	p.expect(t, "77/5/finished/recorded/1000/true", `SELECT concat_ws('/', uidvalidity, uid, state, outcome, octets, is_open::text) FROM receipt
		WHERE receipt_id = $1`, results[0].ReceiptID)
	p.expect(t, "1/recorded/0", `SELECT concat_ws('/', ordinal, outcome, raw_offset) FROM item WHERE email_id = $1`, results[0].Items[0].EmailID)
	p.expect(t, "1|incoming|received|ordinary|Hello|a1@x|p@x|r@x,p@x|1777856521|120|raw date|date|1777856581|true|dear ann\n\nbye|<p>dear ann\n\nbye|1|bad_base64", `
		SELECT concat_ws('|', version, direction, status, class, subject, message_id, array_to_string(in_reply_to, ','),
			array_to_string(reference_ids, ','), extract(epoch FROM sent_at)::bigint, sent_offset, sent_raw, sent_source,
			extract(epoch FROM received_at)::bigint, authenticated::text, text_body, html_body, attachments, array_to_string(defects, ','))
		FROM activity WHERE activity_id = $1`, results[0].Items[0].ActivityID)
	p.expect(t, "1/recipient_mailbox/x@example.com/mailbox/true 2/from/Eve@Example.net//true 3/to/ann@example.com//false 4/to/Team <broken//false", `
		SELECT concat_ws('/', ordinal, role, address, coalesce(party_type, ''), (resolved_at IS NOT NULL)::text) FROM party ORDER BY ordinal`)
	p.expect(t, "1/2/plan.pdf/application/pdf/8/10/4/base64", `
		SELECT concat_ws('/', ordinal, path, filename, media_type, octets, raw_offset, raw_length, encoding) FROM attachment`)
	p.expect(t, "true/direct/12", `SELECT concat_ws('/', authenticated::text, authentication, text_length) FROM sighting WHERE mailbox_id = $1`, p.ann.id)
	p.expect(t, "activity.created/1", `SELECT concat_ws('/', kind, version) FROM event`)
	p.expect(t, "fetched,recorded", `SELECT (SELECT string_agg(s->>'code', ',') FROM jsonb_array_elements(steps) s) FROM trace`)
	if n := len(activity.AddressDigest("eve@example.net")); n != 16 {
		t.Fatalf("got a digest of %d octets", n)
	}
	p.expect(t, "from", `SELECT role FROM party WHERE address_digest = $1`, activity.AddressDigest("eve@example.net"))
}

func TestOneMailToTwoPeople(t *testing.T) {
	t.Parallel()
	p := newPost(t)
	l := letter{id: "a1@x", text: "dear both"}
	first := p.write(t, p.ann, p.ann.batch(1, l))
	l.received = "by another way"
	second := p.write(t, p.bob, p.bob.batch(9, l))
	expectOutcomes(t, first, "recorded")
	expectOutcomes(t, second, "duplicate")
	if a, b := first[0].Items[0], second[0].Items[0]; a.ActivityID != b.ActivityID || a.EmailID != b.EmailID {
		t.Errorf("got %+v and %+v, want one e-mail and one activity", a, b)
	}
	p.expect(t, "1/1/2", `SELECT concat_ws('/', (SELECT count(*) FROM email), (SELECT count(*) FROM activity), (SELECT count(*) FROM sighting))`)
	p.expect(t, "activity.created/1 activity.sighted/1", `SELECT concat_ws('/', kind, version) FROM event ORDER BY seq`)
	p.expect(t, "ann", `SELECT m.name FROM activity a JOIN mailbox m USING (mailbox_id)`)
}

func TestAnIdenticalCopyInOneMailboxAddsNoSighting(t *testing.T) {
	t.Parallel()
	p := newPost(t)
	l := letter{id: "a1@x", text: "dear ann"}
	p.write(t, p.ann, p.ann.batch(1, l))
	expectOutcomes(t, p.write(t, p.ann, p.ann.batch(2, l)), "duplicate")
	p.expect(t, "1", `SELECT count(*)::text FROM sighting`)
	p.expect(t, "activity.created", `SELECT kind FROM event ORDER BY seq`)
}

func TestDuplicatesWithinABatchFindEachOther(t *testing.T) {
	t.Parallel()
	p := newPost(t)
	l := letter{id: "a1@x", text: "dear ann"}
	better := letter{id: "a1@x", text: "dear ann", attachments: []string{"a"}}
	b := p.ann.batch(1, l, letter{id: "b1@x", text: "other"}, l, better)
	// and one wrapper with the same mail for two people
	b.Receipts = append(b.Receipts, arrive(5, l.item(1, p.ann), l.item(2, p.bob)))
	results := p.write(t, p.ann, b)
	expectOutcomes(t, results, "recorded recorded duplicate duplicate+ duplicate")
	p.expect(t, "2/2/4", `SELECT concat_ws('/', (SELECT count(*) FROM email), (SELECT count(*) FROM activity), (SELECT count(*) FROM sighting))`)
	p.expect(t, "1/1/dear ann", `SELECT concat_ws('/', version, attachments, text_body) FROM activity WHERE message_id = 'a1@x'`)
	p.expect(t, "activity.created activity.created activity.sighted activity.sighted", `SELECT kind FROM event ORDER BY seq`)
	p.expect(t, "1", `SELECT count(*)::text FROM attachment`)
}

func TestConflict(t *testing.T) {
	t.Parallel()
	p := newPost(t)
	first := p.write(t, p.ann, p.ann.batch(1, letter{id: "a1@x", text: "pay nothing"}))
	results := p.write(t, p.bob, p.bob.batch(1, letter{id: "a1@x", text: "pay 1000 euros"}, letter{id: "a1@x", text: "pay 2000 euros"},
		letter{id: "a1@x", text: "pay 1000 euros", received: "again"}))
	expectOutcomes(t, results, "recorded! recorded! duplicate!")
	p.expect(t, "0/ 1/"+first[0].Items[0].EmailID+" 2/"+first[0].Items[0].EmailID,
		`SELECT variant || '/' || coalesce(conflict_of::text, '') FROM email ORDER BY variant`)
	p.expect(t, "activity.created activity.created email.conflict activity.created email.conflict activity.sighted", `SELECT kind FROM event ORDER BY seq`)
	p.expect(t, "pay nothing|pay 1000 euros|pay 2000 euros", `SELECT string_agg(text_body, '|' ORDER BY activity_id) FROM activity`)
}

func TestEmptyCopyDoesNotSwallowTheLetter(t *testing.T) {
	t.Parallel()
	p := newPost(t)
	results := p.write(t, p.ann, p.ann.batch(1, letter{id: "a1@x"}, letter{id: "a1@x", text: "the letter"}))
	expectOutcomes(t, results, "recorded recorded!")
}

func TestManyVariantsAreBounded(t *testing.T) {
	t.Parallel()
	p := newPost(t)
	var letters []letter
	for i := range 60 {
		letters = append(letters, letter{id: "a1@x", text: fmt.Sprintf("text %d of many", i)})
	}
	results := p.write(t, p.ann, p.ann.batch(1, letters...))
	for i, r := range results {
		want := receipt.Recorded
		if i >= 50 {
			want = receipt.Quarantined
		}
		if r.Outcome != want {
			t.Errorf("letter %d: got %s, want %s", i, r.Outcome, want)
		}
	}
	p.expect(t, "10", `SELECT count(*)::text FROM item WHERE reason = 'too_many_variants' AND outcome = 'quarantined'`)
	p.expect(t, "10", `SELECT count(*)::text FROM receipt WHERE reason = 'too_many_variants' AND outcome = 'quarantined' AND raw_id IS NOT NULL`)
	expectOutcomes(t, p.write(t, p.bob, p.bob.batch(1, letters[7])), "duplicate!")
}

func TestFooterIsNoConflict(t *testing.T) {
	t.Parallel()
	p := newPost(t)
	plain := letter{id: "a1@x", text: "dear   ann"}
	footer := letter{id: "a1@x", text: "dear\r\n ann", footer: "\r\n-- \r\nThis message is confidential."}
	var uid uint32
	for name, letters := range map[string][2]letter{"footer later": {plain, footer}, "footer first": {footer, plain}} {
		letters[0].id, letters[1].id = name, name
		uid++
		p.write(t, p.ann, p.ann.batch(uid, letters[0]))
		expectOutcomes(t, p.write(t, p.bob, p.bob.batch(uid, letters[1])), "duplicate")
	}
	p.expect(t, "2", `SELECT count(*)::text FROM activity`)
}

func TestUpgrade(t *testing.T) {
	t.Parallel()
	p := newPost(t)
	stripped := letter{id: "a1@x", subject: "[gateway] s", text: "dear ann", to: []string{"one@x"}, doubtful: true, inReplyTo: []string{"none@x"}}
	whole := letter{id: "a1@x", subject: "s", text: "dear ann", to: []string{"one@x", "two@x"}, attachments: []string{"a", "b"}, doubtful: true}
	fuller := letter{id: "a1@x", subject: "s", text: "dear ann", footer: " pay here", attachments: []string{"a", "b", "d"}, doubtful: true}
	authentic := letter{id: "a1@x", subject: "authentic", text: "dear ann", to: []string{"three@x"}, attachments: []string{"c"}}
	first := p.write(t, p.ann, p.ann.batch(1, stripped))
	for i, step := range []struct {
		l              letter
		want, activity string
	}{
		{whole, "duplicate+", "2/s/dear ann/2/false/ann"},
		{stripped, "duplicate", "2/s/dear ann/2/false/ann"},
		{fuller, "duplicate", "2/s/dear ann/2/false/ann"}, // other words
		{authentic, "duplicate+", "3/authentic/dear ann/1/true/ann"},
		{whole, "duplicate", "3/authentic/dear ann/1/true/ann"},
		{stripped, "duplicate", "3/authentic/dear ann/1/true/ann"},
	} {
		results := p.write(t, p.bob, p.bob.batch(uint32(i+1), step.l))
		expectOutcomes(t, results, step.want)
		if got, want := results[0].Items[0].ActivityID, first[0].Items[0].ActivityID; got != want {
			t.Errorf("step %d: got activity %s, want %s", i, got, want)
		}
		p.expect(t, step.activity, `SELECT concat_ws('/', version, subject, text_body, attachments, authenticated::text, m.name)
			FROM activity JOIN mailbox m USING (mailbox_id)`)
	}
	p.expect(t, fmt.Sprintf("1/recipient_mailbox/%d 2/from 3/to", p.ann.id), `SELECT concat_ws('/', ordinal, role, party_id) FROM party ORDER BY ordinal`)
	p.expect(t, "c", `SELECT filename FROM attachment ORDER BY ordinal`)
	p.expect(t, "activity.created/1 activity.sighted/2 activity.upgraded/2 activity.sighted/2 activity.sighted/2 activity.sighted/3 activity.upgraded/3",
		`SELECT concat_ws('/', kind, version) FROM event ORDER BY seq`)
	p.expect(t, "true", `SELECT (a.raw_id = i.raw_id)::text FROM activity a JOIN raw r USING (raw_id) JOIN item i ON i.raw_id = r.raw_id
		JOIN receipt c ON c.receipt_id = i.receipt_id WHERE c.uid = 4 AND c.folder_id = $1`, p.bob.folder)
}

func TestTwoUpgradesInOneBatchAreOne(t *testing.T) {
	t.Parallel()
	p := newPost(t)
	p.write(t, p.ann, p.ann.batch(1, letter{id: "a1@x", text: "t", doubtful: true}))
	results := p.write(t, p.bob, p.bob.batch(1, letter{id: "a1@x", text: "t", doubtful: true, attachments: []string{"a"}},
		letter{id: "a1@x", text: "t", attachments: []string{"b"}}))
	expectOutcomes(t, results, "duplicate+ duplicate+")
	p.expect(t, "2/1/true/b", `SELECT concat_ws('/', version, attachments, authenticated::text, (SELECT string_agg(filename, ',') FROM attachment)) FROM activity`)
	p.expect(t, "1", `SELECT count(*)::text FROM event WHERE kind = 'activity.upgraded' AND version = 2`)
}

func TestDeletedDoesNotComeBack(t *testing.T) {
	t.Parallel()
	p := newPost(t)
	const text = "dear ann, this is a letter that is not so short that it could be any, and has more to say"
	l := letter{id: "a1@x", text: text, footer: "\n-- \nfooter"}
	p.write(t, p.ann, p.ann.batch(1, l))
	p.exec(t, `DELETE FROM activity`)
	plain := letter{id: "a1@x", text: text, attachments: []string{"a"}}
	more := letter{id: "a1@x", text: text, footer: "\n-- \nfooter and more"}
	results := p.write(t, p.bob, p.bob.batch(1, l, plain, more))
	expectOutcomes(t, results, "ignored:deleted ignored:deleted ignored:deleted")
	p.expect(t, "0/3", `SELECT concat_ws('/', (SELECT count(*) FROM activity), (SELECT count(*) FROM item WHERE reason = 'deleted' AND email_id IS NOT NULL))`)
	p.expect(t, "0", `SELECT count(*)::text FROM sighting WHERE mailbox_id = $1`, p.bob.id)
	// Another text that claims the identity is another e-mail: a deleted record hides none.
	expectOutcomes(t, p.write(t, p.bob, p.bob.batch(9, letter{id: "a1@x", text: "something else"})), "recorded!")
	expectOutcomes(t, p.write(t, p.bob, p.bob.batch(10, letter{id: "a1@x", text: "x" + text})), "recorded!")
}

func TestNothingIsKeptOfTheCopies(t *testing.T) {
	t.Parallel()
	p := newPost(t)
	l := letter{id: "a1@x", text: "dear both"}
	p.write(t, p.bob, p.bob.batch(1, l))
	p.exec(t, `DELETE FROM mailbox WHERE mailbox_id = $1`, p.bob.id)
	p.expect(t, "0/1", `SELECT concat_ws('/', (SELECT count(*) FROM sighting), (SELECT count(*) FROM activity))`)
	expectOutcomes(t, p.write(t, p.ann, p.ann.batch(1, l, letter{id: "a1@x", text: "another"}, l)), "duplicate recorded! duplicate")
	p.exec(t, `DELETE FROM sighting`)
	p.exec(t, `DELETE FROM activity`)
	expectOutcomes(t, p.write(t, p.ann, p.ann.batch(5, letter{id: "a1@x", text: "whatever"})), "ignored:deleted")
}

func TestCorrelation(t *testing.T) {
	t.Parallel()
	p := newPost(t)
	root := p.write(t, p.ann, p.ann.batch(1, letter{id: "root@x", text: "root"}))[0].Items[0].ActivityID
	results := p.write(t, p.bob, p.bob.batch(1,
		letter{id: "late@x", text: "answers one that is further down", inReplyTo: []string{"<reply@x>"}},
		letter{id: "reply@x", text: "reply", inReplyTo: []string{"root@x"}, references: []string{"other@x"}},
		letter{id: "ref@x", text: "by references", inReplyTo: []string{"lost@x"}, references: []string{"root@x", "reply@x", "lost@x"}},
		letter{id: "self@x", text: "answers itself", inReplyTo: []string{"self@x"}},
		letter{id: "none@x", text: "answers nobody", inReplyTo: []string{"lost@x"}},
	))
	reply := results[1].Items[0].ActivityID
	p.expect(t, "late@x/in_reply_to/"+reply+" none@x ref@x/references/"+reply+" reply@x/in_reply_to/"+root+" root@x self@x",
		`SELECT concat_ws('/', message_id, correlation, parent_activity_id) FROM activity ORDER BY message_id`)
	p.expect(t, "3", `SELECT count(*)::text FROM trace WHERE steps @> '[{"code": "correlated"}]'`)
}

func TestCorrelationMakesNoCircle(t *testing.T) {
	t.Parallel()
	p := newPost(t)
	var letters []letter
	for i := range 5 {
		letters = append(letters, letter{id: fmt.Sprintf("%d@x", i), text: fmt.Sprint("text ", i), inReplyTo: []string{fmt.Sprintf("%d@x", (i+1)%5)}})
	}
	p.write(t, p.ann, p.ann.batch(1, letters...))
	p.expect(t, "5", `WITH RECURSIVE up AS (
		SELECT activity_id, parent_activity_id, 1 AS depth FROM activity WHERE parent_activity_id IS NULL
		UNION ALL SELECT a.activity_id, a.parent_activity_id, depth + 1 FROM activity a JOIN up ON a.parent_activity_id = up.activity_id)
		SELECT count(*)::text FROM up`)
}

func TestReceiptsWithoutRecords(t *testing.T) {
	t.Parallel()
	p := newPost(t)
	whole := letter{id: "a1@x", text: "dear ann"}.arrive(p.ann, 1)
	item := whole.Items[0]
	item.Plan, item.Reason, item.Activity = receipt.Quarantined, receipt.Untrusted, nil
	ignored := item
	ignored.Ordinal, ignored.Plan, ignored.Reason, ignored.MailboxID = 2, receipt.Ignored, receipt.NotAccepted, p.bob.id
	good := letter{id: "b1@x", text: "dear bob"}.item(3, p.bob)
	b := &receipt.Batch{FolderID: p.fwd.folder, Receipts: []receipt.Receipt{
		{Ref: ref(1), Baseline: true},
		{Ref: ref(2), Plan: receipt.Ignored, Reason: receipt.Vanished},
		{Ref: ref(3), Raw: whole.Raw, Plan: receipt.Quarantined, Reason: receipt.TooLarge, Dispose: true},
		{Ref: ref(4), Raw: whole.Raw, Undecided: true, Tries: 1},
		arrive(5, item, ignored, good),
	}}
	results := p.write(t, p.fwd, b)
	expectOutcomes(t, results, " ignored:vanished quarantined:too_large  quarantined:untrusted")
	p.expect(t, "baseline finished/ignored/vanished finished/quarantined/too_large stored/1 finished/quarantined/untrusted",
		`SELECT concat_ws('/', state, outcome, reason, tries) FROM receipt ORDER BY uid`)
	p.expect(t, "quarantined/untrusted ignored/not_accepted recorded", `SELECT concat_ws('/', outcome, reason) FROM item ORDER BY ordinal`)
	p.expect(t, "1", `SELECT count(*)::text FROM email`)
	p.expect(t, "0", `SELECT count(*)::text FROM receipt WHERE disposition IS NOT NULL`)
	if got := results[4].Items[2]; got.Outcome != receipt.Recorded || got.ActivityID == "" {
		t.Errorf("third item: got %+v, want it recorded", got)
	}
}

func ref(uid uint32) source.Ref {
	return source.Ref{Folder: "INBOX", UIDValidity: validity, UID: uid, Octets: 1000}
}

func TestRecipientIsGone(t *testing.T) {
	t.Parallel()
	p := newPost(t)
	gone := letter{id: "a1@x", text: "dear bob"}.item(1, p.bob)
	gone.ViaID = p.fwd.id
	p.exec(t, `DELETE FROM mailbox WHERE mailbox_id = $1`, p.bob.id)
	b := &receipt.Batch{FolderID: p.fwd.folder, Receipts: []receipt.Receipt{arrive(1, gone)}}
	expectOutcomes(t, p.write(t, p.fwd, b), "quarantined:unknown_recipient")
	p.expect(t, "0", `SELECT count(*)::text FROM email`)
}

func TestStaleTokenWritesNothing(t *testing.T) {
	t.Parallel()
	p := newPost(t)
	before := p.counts(t)
	stale := p.ann
	stale.lease.Token--
	b := p.ann.batch(1, letter{id: "a1@x", text: "t"})
	b.Cursor = &receipt.Cursor{UIDValidity: validity, UIDNext: 9}
	if _, err := p.writer.Write(t.Context(), stale.lease, b); !errors.Is(err, mailbox.ErrLeaseLost) || store.IsolatesBadRow(err) {
		t.Errorf("got %v, want the lease to be lost", err)
	}
	p.sameCounts(t, before)
	p.expect(t, "1", `SELECT uid_next::text FROM folder_cursor WHERE folder_id = $1`, p.ann.folder)
}

func TestForeignFolderIsRefused(t *testing.T) {
	t.Parallel()
	p := newPost(t)
	before := p.counts(t)
	if _, err := p.writer.Write(t.Context(), p.bob.lease, p.ann.batch(1, letter{id: "a1@x"})); err == nil || store.IsolatesBadRow(err) {
		t.Errorf("got %v, want an error that says nothing about a message", err)
	}
	p.sameCounts(t, before)
}

func TestReplayAddsNothing(t *testing.T) {
	t.Parallel()
	p := newPost(t)
	b := p.ann.batch(1, letter{id: "a1@x", text: "t", attachments: []string{"a"}}, letter{id: "a1@x", text: "t", received: "again"},
		letter{id: "a1@x", text: "other"})
	b.Receipts = append(b.Receipts,
		receipt.Receipt{Ref: ref(10), Plan: receipt.Ignored, Reason: receipt.Vanished},
		receipt.Receipt{Ref: ref(11), Baseline: true},
		receipt.Receipt{Ref: ref(12), Raw: b.Receipts[0].Raw, Undecided: true},
		arrive(13, letter{id: "a2@x", text: "t2"}.item(1, p.ann), letter{id: "a3@x", text: "t3"}.item(2, p.bob)))
	b.Cursor = &receipt.Cursor{UIDValidity: validity, UIDNext: 14, Messages: 13, Missed: 3, StartUIDNext: 14}
	if _, committed, err := p.writer.ReadBack(t.Context(), b); err != nil || committed {
		t.Fatalf("before: got committed %t, %v", committed, err)
	}
	first := p.write(t, p.ann, b)
	before := p.counts(t)
	for range 2 {
		again := p.write(t, p.ann, b)
		if diff := cmp.Diff(first, again); diff != "" {
			t.Errorf("results first - again +:\n%s", diff)
		}
		p.sameCounts(t, before)
	}
	results, committed, err := p.writer.ReadBack(t.Context(), b)
	if err != nil || !committed {
		t.Errorf("read back: got committed %t, %v", committed, err)
	}
	if diff := cmp.Diff(first, results); diff != "" {
		t.Errorf("results first - read back +:\n%s", diff)
	}
	p.expect(t, "14/13/3/77/14", `SELECT concat_ws('/', uid_next, messages, missed, start_uidvalidity, start_uid_next) FROM folder_cursor WHERE folder_id = $1`, p.ann.folder)
	b.Receipts = append(b.Receipts, letter{id: "new@x", text: "new"}.arrive(p.ann, 20))
	if _, committed, err := p.writer.ReadBack(t.Context(), b); err != nil || committed {
		t.Errorf("one is missing: got committed %t, %v", committed, err)
	}
	expectOutcomes(t, p.write(t, p.ann, b)[7:], "recorded")
}

func TestCommitFailureIsReturned(t *testing.T) {
	t.Parallel()
	p := newPost(t)
	p.exec(t, `CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$
		BEGIN IF NEW.subject = 'refused' THEN RAISE EXCEPTION 'refused' USING ERRCODE = '23514'; END IF; RETURN NEW; END $$`)
	p.exec(t, `CREATE CONSTRAINT TRIGGER refuse AFTER INSERT ON activity DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION refuse()`)
	before := p.counts(t)
	b := p.ann.batch(1, letter{id: "a1@x", text: "good"}, letter{id: "a2@x", text: "bad", subject: "refused"})
	_, err := p.writer.Write(t.Context(), p.ann.lease, b)
	if err == nil || !store.IsolatesBadRow(err) || errors.Is(err, store.ErrCommitUnknown) {
		t.Fatalf("got %v, want an error about a row", err)
	}
	p.sameCounts(t, before)
	// As the caller then does: one by one, and what is refused alone without its record.
	for i := range b.Receipts {
		one := &receipt.Batch{FolderID: b.FolderID, Receipts: b.Receipts[i : i+1]}
		results, err := p.writer.Write(t.Context(), p.ann.lease, one)
		if i == 0 {
			expectOutcomes(t, results, "recorded")
			continue
		}
		if err == nil || !store.IsolatesBadRow(err) {
			t.Fatalf("got %v, want an error about the row", err)
		}
		one.Receipts = []receipt.Receipt{b.Receipts[i].Unrecordable()}
		expectOutcomes(t, p.write(t, p.ann, one), "quarantined:unrecordable")
	}
	p.expect(t, "2", `SELECT count(*)::text FROM receipt WHERE raw_id IS NOT NULL`)
}

func TestHostileTextIsWritten(t *testing.T) {
	t.Parallel()
	p := newPost(t)
	bad := "a\x00b\xff" + strings.Repeat("é", 6000) + "\u2028</script>\\u0000"
	l := letter{
		id: "<" + bad, from: bad, subject: bad, text: bad, attachments: []string{bad}, inReplyTo: []string{bad, bad}, references: []string{bad},
		to: []string{bad},
	}
	r := l.arrive(p.ann, 1)
	act := r.Items[0].Activity
	act.Class, act.SentRaw, act.Defects, act.OwnerID = bad, bad, []string{bad}, bad
	act.Attachments[0].MediaType, act.Attachments[0].ContentID, act.Attachments[0].Path = bad, bad, bad
	act.Parties[0].Name, act.Parties[1].ID = bad, bad
	act.SentAt = act.SentAt.AddDate(20_000, 0, 0)
	r.Items[0].Path, r.Items[0].Content.Authentication = bad, bad
	for i := range 200 {
		r.Trace.Add("record", "recorded", "activity_id", fmt.Sprint(i)+bad)
	}
	r.Trace = append(r.Trace, r.Trace[0])
	r.Trace[0].Args = map[string]string{"a\x00": bad}
	expectOutcomes(t, p.write(t, p.ann, &receipt.Batch{FolderID: p.ann.folder, Receipts: []receipt.Receipt{r}}), "recorded")
	p.expect(t, "none", `SELECT concat_ws('/', sent_source, sent_at) FROM activity`)
	p.expect(t, "true", `SELECT (octet_length(subject) <= 8192 AND subject LIKE 'a_b_é%')::text FROM activity`)
	p.expect(t, "true", `SELECT (octet_length(steps::text) < 2200 AND steps @> '[{"code": "steps_cut"}]' AND steps -> -1 ->> 'code' = 'recorded')::text FROM trace`)
}

func TestManyPartiesAreBounded(t *testing.T) {
	t.Parallel()
	p := newPost(t)
	r := letter{id: "a1@x", text: "t"}.arrive(p.ann, 1)
	act := r.Items[0].Activity
	keep := act.Parties[1]
	act.Parties = act.Parties[:1]
	for i := range 40_000 {
		act.Parties = append(act.Parties, activity.Party{Role: activity.RoleTo, Address: fmt.Sprintf("%d@x", i)})
	}
	act.Parties = append(act.Parties, keep)
	for len(act.Attachments) < 40_000 {
		act.Attachments = append(act.Attachments, activity.Attachment{Path: "1", MediaType: "text/plain", Encoding: "identity"})
	}
	p.write(t, p.ann, &receipt.Batch{FolderID: p.ann.folder, Receipts: []receipt.Receipt{r}})
	p.expect(t, "5000/5000/bad_base64,parties_cut,attachments_cut", `SELECT concat_ws('/', (SELECT count(*) FROM party), (SELECT count(*) FROM attachment),
		array_to_string(defects, ',')) FROM activity`)
	p.expect(t, "recipient_mailbox", `SELECT role FROM party WHERE ordinal = 1`)
}

func TestBadBatchIsRefused(t *testing.T) {
	t.Parallel()
	p := newPost(t)
	good := letter{id: "a1@x", text: "t"}.arrive(p.ann, 1)
	for name, change := range map[string]func(r *receipt.Receipt){
		"no identity":             func(r *receipt.Receipt) { r.Ref.UID = 0 },
		"two identities":          func(r *receipt.Receipt) { r.Ref.UniqueID = "x" },
		"baseline with octets":    func(r *receipt.Receipt) { r.Baseline = true },
		"undecided and unkept":    func(r *receipt.Receipt) { r.Undecided, r.Raw, r.Items = true, nil, nil },
		"no outcome":              func(r *receipt.Receipt) { r.Items = nil },
		"recorded without item":   func(r *receipt.Receipt) { r.Items, r.Plan = nil, receipt.Recorded },
		"ignored without reason":  func(r *receipt.Receipt) { r.Items, r.Plan = nil, receipt.Ignored },
		"items without octets":    func(r *receipt.Receipt) { r.Raw = nil },
		"item without activity":   func(r *receipt.Receipt) { r.Items[0].Activity = nil },
		"item without recipient":  func(r *receipt.Receipt) { r.Items[0].MailboxID = 0 },
		"item without reason":     func(r *receipt.Receipt) { r.Items[0].Plan = receipt.Quarantined },
		"item with wrong ordinal": func(r *receipt.Receipt) { r.Items[0].Ordinal = 2 },
		"item beyond the octets":  func(r *receipt.Receipt) { r.Items[0].Offset = 1 },
		"item of another outcome": func(r *receipt.Receipt) { r.Items[0].Plan = receipt.Duplicate },
		"item without octets":     func(r *receipt.Receipt) { r.Items[0].Raw = nil },
	} {
		r := good
		r.Items = []receipt.Item{good.Items[0]}
		change(&r)
		if _, err := p.writer.Write(t.Context(), p.ann.lease, &receipt.Batch{FolderID: p.ann.folder, Receipts: []receipt.Receipt{r}}); !store.IsolatesBadRow(err) {
			t.Errorf("%s: got %v, want an error about the message", name, err)
		}
	}
	twice := &receipt.Batch{FolderID: p.ann.folder, Receipts: []receipt.Receipt{good, good}}
	if _, err := p.writer.Write(t.Context(), p.ann.lease, twice); !store.IsolatesBadRow(err) {
		t.Errorf("one identity twice: got %v, want an error", err)
	}
	p.expect(t, "0", `SELECT count(*)::text FROM receipt`)
}

func TestIsolatesBadRow(t *testing.T) {
	t.Parallel()
	p := newPost(t)
	for sql, want := range map[string]bool{
		`SELECT 1/0`: true,
		`INSERT INTO email (email_id, identity, identity_version) VALUES (gen_random_uuid(), '', 1)`:     true,
		`DO $$ BEGIN RAISE EXCEPTION 'by a trigger'; END $$`:                                             true,
		`DO $$ BEGIN RAISE EXCEPTION 'x' USING ERRCODE = '54000'; END $$`:                                true,
		`DO $$ BEGIN RAISE EXCEPTION 'x' USING ERRCODE = '40001'; END $$`:                                false,
		`DO $$ BEGIN RAISE EXCEPTION 'x' USING ERRCODE = '40P01'; END $$`:                                false,
		`DO $$ BEGIN RAISE EXCEPTION 'x' USING ERRCODE = '53100'; END $$`:                                false,
		`DO $$ BEGIN RAISE EXCEPTION 'x' USING ERRCODE = '57P01'; END $$`:                                false,
		`SET statement_timeout = 1; SELECT pg_sleep(10)`:                                                 false,
		`SELECT no_such_column FROM email`:                                                               false,
		`SELECT 1 FROM no_such_table`:                                                                    false,
		`DO $$ BEGIN PERFORM pg_terminate_backend(pg_backend_pid()); END $$; SELECT count(*) FROM email`: false,
	} {
		conn, err := p.db.Pool().Acquire(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		_, err = conn.Conn().PgConn().Exec(t.Context(), sql).ReadAll()
		_ = conn.Conn().Close(t.Context())
		conn.Release()
		if err == nil || store.IsolatesBadRow(err) != want || store.IsolatesBadRow(store.Classify(err)) != want {
			t.Errorf("%s: got %v, isolates %t, want %t", sql, err, store.IsolatesBadRow(err), want)
		}
	}
	for _, err := range []error{nil, context.Canceled, context.DeadlineExceeded, store.ErrCommitUnknown, mailbox.ErrLeaseLost, errors.New("other")} {
		if store.IsolatesBadRow(err) {
			t.Errorf("%v: says that it is about a row", err)
		}
	}
}

// What a trace says has a text for explain.
func TestTraceCodesAreKnown(t *testing.T) {
	t.Parallel()
	p := newPost(t)
	l := letter{id: "a1@x", text: "t", doubtful: true}
	p.write(t, p.ann, p.ann.batch(1, l, letter{id: "a1@x", text: "t"}, letter{id: "a1@x", text: "other", inReplyTo: []string{"a1@x", "b1@x"}},
		letter{id: "b1@x", text: "b", inReplyTo: []string{"a1@x"}}))
	p.exec(t, `DELETE FROM activity WHERE message_id = 'b1@x'`)
	p.write(t, p.ann, p.ann.batch(10, letter{id: "b1@x", text: "b"}))
	rows, err := p.db.Pool().Query(t.Context(), `SELECT DISTINCT s->>'code' FROM trace, jsonb_array_elements(steps) s ORDER BY 1`)
	if err != nil {
		t.Fatal(err)
	}
	codes, err := pgx.CollectRows(rows, pgx.RowTo[trace.Code])
	if err != nil {
		t.Fatal(err)
	}
	want := []trace.Code{"conflict", "correlated", "deleted", "duplicate", "fetched", "recorded", "upgraded"}
	if diff := cmp.Diff(want, codes); diff != "" {
		t.Errorf("codes want - got +:\n%s", diff)
	}
	for _, code := range append(codes, "recipient_gone", "too_many_variants", "unrecordable", "steps_cut") {
		if !trace.Known(code) {
			t.Errorf("%s has no text", code)
		}
	}
}
