package store_test

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"github.com/postroom/postroom/internal/mailbox"
	"github.com/postroom/postroom/internal/receipt"
	"github.com/postroom/postroom/internal/source"
)

func uniqueID(id string, octets int64) source.Ref {
	return source.Ref{Folder: "INBOX", UniqueID: id, Octets: octets}
}

// maildrop makes a receipt of a letter that came to a maildrop.
func (l letter) maildrop(b box, id string, generation, ordinal int) receipt.Receipt {
	r := arrive(1, l.item(1, b))
	r.Ref, r.Generation, r.Ordinal = uniqueID(id, 1000), generation, ordinal
	return r
}

func TestMaildropIdentity(t *testing.T) {
	t.Parallel()
	p := newPost(t)
	b := &receipt.Batch{FolderID: p.sales.folder, Receipts: []receipt.Receipt{
		letter{id: "a@x", text: "a"}.maildrop(p.sales, "u1", 0, 0),
		letter{id: "b@x", text: "b"}.maildrop(p.sales, "u1", 0, 1),
		letter{id: "c@x", text: "c"}.maildrop(p.sales, "u1", 1, 0),
		letter{id: "d@x", text: "d"}.maildrop(p.sales, "u2", 0, 0),
	}}
	first := p.write(t, p.sales, b)
	expectOutcomes(t, first, "recorded recorded recorded recorded")
	before := p.counts(t)
	if diff := cmp.Diff(first, p.write(t, p.sales, b)); diff != "" {
		t.Errorf("results first - again +:\n%s", diff)
	}
	p.sameCounts(t, before)
	p.expect(t, "3", `SELECT count(*)::text FROM receipt WHERE unique_id_digest = $1`, digestOf("u1"))
}

func digestOf(id string) []byte {
	d := receipt.UniqueIDDigest(id)
	return d[:]
}

func TestBaselineOfAMaildrop(t *testing.T) {
	t.Parallel()
	p := newPost(t)
	b := &receipt.Batch{FolderID: p.sales.folder, Cursor: &receipt.Cursor{Messages: 3}}
	for _, id := range []string{"u1", "u2", "u3"} {
		b.Receipts = append(b.Receipts, receipt.Receipt{Ref: uniqueID(id, 7), Baseline: true})
	}
	results := p.write(t, p.sales, b)
	expectOutcomes(t, results, "  ")
	p.expect(t, "baseline/7/true baseline/7/true baseline/7/true", `SELECT concat_ws('/', state, octets, is_open::text) FROM receipt`)
	p.expect(t, "3/true/true", `SELECT concat_ws('/', messages, (listed_at IS NOT NULL)::text, (uidvalidity IS NULL AND uid_next IS NULL)::text)
		FROM folder_cursor WHERE folder_id = $1`, p.sales.folder)
}

func TestClosed(t *testing.T) {
	t.Parallel()
	p := newPost(t)
	one := letter{id: "a@x", text: "a"}.maildrop(p.sales, "u1", 0, 0)
	one.Dispose = true
	results := p.write(t, p.sales, &receipt.Batch{FolderID: p.sales.folder, Receipts: []receipt.Receipt{
		one, letter{id: "b@x", text: "b"}.maildrop(p.sales, "u2", 0, 0),
	}})
	closing := &receipt.Batch{FolderID: p.sales.folder, Closed: []int64{results[0].ReceiptID, results[0].ReceiptID}}
	for range 2 {
		p.write(t, p.sales, closing)
		p.expect(t, "false/done true", `SELECT concat_ws('/', is_open::text, disposition) FROM receipt ORDER BY receipt_id`)
	}
	closing.FolderID = p.ann.folder
	if _, err := p.writer.Write(t.Context(), p.ann.lease, closing); err == nil {
		t.Error("closed a receipt of another folder")
	}
	closing.FolderID, closing.Closed = p.sales.folder, []int64{results[1].ReceiptID, 1 << 40}
	if _, err := p.writer.Write(t.Context(), p.sales.lease, closing); err == nil {
		t.Error("closed a receipt that does not exist")
	}
	p.expect(t, "true", `SELECT is_open::text FROM receipt WHERE receipt_id = $1`, results[1].ReceiptID)
}

func TestCursorMoves(t *testing.T) {
	t.Parallel()
	p := newPost(t)
	for _, step := range []struct {
		cursor receipt.Cursor
		want   string
	}{
		{receipt.Cursor{UIDValidity: 77, UIDNext: 10, Messages: 9, StartUIDNext: 15}, "77/10/9/0/77/15"},
		{receipt.Cursor{UIDValidity: 77, UIDNext: 20, Messages: 12, Missed: 4}, "77/20/12/4/77/15"},
		{receipt.Cursor{UIDValidity: 77, UIDNext: 20, Messages: 12, Missed: 4}, "77/20/12/4/77/15"},
		{receipt.Cursor{UIDValidity: 77, UIDNext: 21, Messages: 12, Missed: 1}, "77/21/12/5/77/15"},
		{receipt.Cursor{UIDValidity: 78, UIDNext: 2, Messages: 12, StartUIDNext: 9}, "78/2/12/5/78/9"}, // a Reset
		{receipt.Cursor{UIDValidity: 4294967295, UIDNext: 4294967295, StartUIDNext: 4294967295}, "4294967295/4294967295/0/5/4294967295/4294967295"},
	} {
		p.write(t, p.ann, &receipt.Batch{FolderID: p.ann.folder, Cursor: &step.cursor})
		p.expect(t, step.want, `SELECT concat_ws('/', uidvalidity, uid_next, messages, missed, start_uidvalidity, start_uid_next) FROM folder_cursor
			WHERE folder_id = $1 AND listed_at IS NOT NULL`, p.ann.folder)
	}
	p.expect(t, "1", `SELECT uid_next::text FROM folder_cursor WHERE folder_id = $1`, p.bob.folder)
}

func TestStoredIsDecidedAgain(t *testing.T) {
	t.Parallel()
	p := newPost(t)
	r := letter{id: "a1@x", text: "t"}.arrive(p.ann, 1)
	later := receipt.Receipt{Ref: r.Ref, SeenAt: sent, Raw: r.Raw, Undecided: true, Tries: 1, RetryIn: -time.Minute}
	stored := p.write(t, p.ann, &receipt.Batch{FolderID: p.ann.folder, Receipts: []receipt.Receipt{later}})
	expectOutcomes(t, stored, "")

	due, err := p.db.StoredDue(t.Context(), p.ann.id, 10)
	if err != nil || len(due) != 1 {
		t.Fatalf("got %v, %v, want one receipt", due, err)
	}
	if due[0].ReceiptID != stored[0].ReceiptID || due[0].Tries != 1 || due[0].Ref.UID != 1 || due[0].Ref.UIDValidity != validity ||
		due[0].RawOctets != r.Raw.Octets() || !due[0].SeenAt.Equal(sent) || due[0].Ref.Folder != "INBOX" || due[0].FolderID != p.ann.folder {
		t.Errorf("got %+v", due[0])
	}

	// It fails once more, and is not due for an hour.
	again := receipt.Receipt{ID: due[0].ReceiptID, Ref: due[0].Ref, Raw: r.Raw, Undecided: true, Tries: 2, RetryIn: time.Hour}
	b := &receipt.Batch{FolderID: p.ann.folder, Receipts: []receipt.Receipt{again}}
	if _, committed, err := p.writer.ReadBack(t.Context(), b); err != nil || committed {
		t.Errorf("before the second try: got committed %t, %v", committed, err)
	}
	p.write(t, p.ann, b)
	if _, committed, err := p.writer.ReadBack(t.Context(), b); err != nil || !committed {
		t.Errorf("after the second try: got committed %t, %v", committed, err)
	}
	if due, err := p.db.StoredDue(t.Context(), p.ann.id, 10); err != nil || len(due) != 0 {
		t.Errorf("got %v, %v, want none due", due, err)
	}
	p.expect(t, "stored/2", `SELECT concat_ws('/', state, tries) FROM receipt`)

	// Then it is decided, once: a replay and a later decision change nothing.
	r.ID, r.Dispose = due[0].ReceiptID, true
	decided := &receipt.Batch{FolderID: p.ann.folder, Receipts: []receipt.Receipt{r}}
	results := p.write(t, p.ann, decided)
	expectOutcomes(t, results, "recorded")
	p.expect(t, "finished/recorded/due/2", `SELECT concat_ws('/', state, outcome, disposition, tries) FROM receipt WHERE next_try_at IS NULL`)
	before := p.counts(t)
	if diff := cmp.Diff(results, p.write(t, p.ann, decided)); diff != "" {
		t.Errorf("results first - again +:\n%s", diff)
	}
	r.Items, r.Plan, r.Reason = nil, receipt.Quarantined, receipt.Unreadable
	expectOutcomes(t, p.write(t, p.ann, &receipt.Batch{FolderID: p.ann.folder, Receipts: []receipt.Receipt{r}}), "recorded")
	p.sameCounts(t, before)

	r.ID = 1 << 40
	if _, err := p.writer.Write(t.Context(), p.ann.lease, &receipt.Batch{FolderID: p.ann.folder, Receipts: []receipt.Receipt{r}}); err == nil {
		t.Error("decided about a receipt that does not exist")
	}
}

func TestPostpone(t *testing.T) {
	t.Parallel()
	p := newPost(t)
	raw := source.RawOf([]byte("x"))
	written := p.write(t, p.ann, &receipt.Batch{FolderID: p.ann.folder, Receipts: []receipt.Receipt{
		{Ref: ref(1), Raw: raw, Undecided: true, Tries: 1},
		{Ref: ref(2), Raw: raw, Undecided: true, Tries: 1},
		{Ref: ref(3), Raw: raw, Plan: receipt.Quarantined, Reason: receipt.Unreadable},
	}})
	stale := p.ann.lease
	stale.Token--
	if err := p.db.Postpone(t.Context(), stale, written[0].ReceiptID, time.Hour); !errors.Is(err, mailbox.ErrLeaseLost) {
		t.Errorf("stale token: got %v, want ErrLeaseLost", err)
	}
	if err := p.db.Postpone(t.Context(), p.bob.lease, written[0].ReceiptID, time.Hour); err == nil {
		t.Error("postponed with another mailbox's lease")
	}
	if err := p.db.Postpone(t.Context(), p.ann.lease, written[2].ReceiptID, time.Hour); err == nil {
		t.Error("postponed one that is decided")
	}
	if err := p.db.Postpone(t.Context(), p.ann.lease, written[0].ReceiptID, time.Hour); err != nil {
		t.Fatal(err)
	}
	p.expect(t, "1/t 1/f", `SELECT concat_ws('/', tries, next_try_at > now() + interval '59 minutes') FROM receipt WHERE state = 'stored' ORDER BY receipt_id`)
	due, err := p.db.StoredDue(t.Context(), p.ann.id, 10)
	if err != nil || len(due) != 1 || due[0].ReceiptID != written[1].ReceiptID {
		t.Errorf("due: got %+v, %v, want the other one alone", due, err)
	}
}

func TestLargeOctetsAreAdopted(t *testing.T) {
	t.Parallel()
	p := newPost(t)
	octets := make([]byte, 3<<20)
	for i := range octets {
		octets[i] = byte(rand.N(256))
	}
	large := source.RawOf(octets)
	var receipts []receipt.Receipt
	for uid := range uint32(2) { // the same octets twice, loaded once each
		load, err := p.raws.Load(t.Context(), p.ann.lease.DaemonID, large)
		if err != nil {
			t.Fatal(err)
		}
		item := letter{id: "a1@x", text: "t"}.item(1, p.ann)
		item.Raw, item.Octets, item.Content.SHA256 = large, large.Octets(), large.SHA256()
		r := arrive(uid+1, item)
		r.LoadID = load
		receipts = append(receipts, r)
	}
	for i := range receipts { // each in a batch of its own: the second finds the first one's
		b := &receipt.Batch{FolderID: p.ann.folder, Receipts: receipts[i : i+1]}
		p.write(t, p.ann, b)
		p.write(t, p.ann, b) // and a replay, when there is nothing loading any more
	}
	p.expect(t, "stored", `SELECT state FROM raw`)
	kept, err := p.raws.Spool(t.Context(), rawOf(t, p), 0, large.Octets(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = kept.Close() }()
	if !bytes.Equal(kept.Bytes(), octets) {
		t.Error("the octets are not those that were written")
	}
}

func rawOf(t *testing.T, p *post) (id int64) {
	t.Helper()
	p.scan(t, []any{&id}, `SELECT DISTINCT raw_id FROM activity`)
	return id
}

// Two receipts of one batch with the same octets, both loaded ahead, leave one row.
func TestTheSameLoadedTwiceInABatch(t *testing.T) {
	t.Parallel()
	p := newPost(t)
	large := source.RawOf(bytes.Repeat([]byte("large "), 400_000))
	b := &receipt.Batch{FolderID: p.ann.folder}
	for uid := range uint32(2) {
		load, err := p.raws.Load(t.Context(), uuid.New(), large)
		if err != nil {
			t.Fatal(err)
		}
		b.Receipts = append(b.Receipts, receipt.Receipt{Ref: ref(uid + 1), Raw: large, LoadID: load, Plan: receipt.Quarantined, Reason: receipt.Unreadable})
	}
	p.write(t, p.ann, b)
	p.expect(t, "stored", `SELECT state FROM raw`)
	p.expect(t, "1", `SELECT count(DISTINCT raw_id)::text FROM receipt`)
}
