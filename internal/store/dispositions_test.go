package store_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/postroom/postroom/internal/mailbox"
	"github.com/postroom/postroom/internal/receipt"
	"github.com/postroom/postroom/internal/source"
)

// due returns the UIDs or ordinals of what is due, with their outcomes.
func (p *post) due(tb testing.TB, b box, limit int) (string, []receipt.Due) {
	tb.Helper()
	list, err := p.db.DueDispositions(tb.Context(), b.folder, limit)
	if err != nil {
		tb.Fatal(err)
	}
	var out []string
	for _, d := range list {
		s := fmt.Sprintf("%d:%s", d.Ref.UID, d.Outcome)
		if d.Copied {
			s += ":copied"
		}
		out = append(out, s)
	}
	return strings.Join(out, " "), list
}

func (p *post) expectDue(tb testing.TB, b box, want string) []receipt.Due {
	tb.Helper()
	got, list := p.due(tb, b, 100)
	if got != want {
		tb.Errorf("due: got %q, want %q", got, want)
	}
	return list
}

// dispositions writes a receipt of each outcome to b, all due.
func (p *post) dispositions(tb testing.TB, b box) []receipt.Result {
	tb.Helper()
	l := letter{id: "a1@x", text: "t"}
	batch := b.batch(1, l, l)
	raw := batch.Receipts[0].Raw
	batch.Receipts = append(batch.Receipts,
		receipt.Receipt{Ref: ref(3), Raw: raw, Plan: receipt.Ignored, Reason: receipt.Report},
		receipt.Receipt{Ref: ref(4), Raw: raw, Plan: receipt.Quarantined, Reason: receipt.Untrusted},
		receipt.Receipt{Ref: ref(5), Plan: receipt.Ignored, Reason: receipt.Vanished}, // no octets: never
		receipt.Receipt{Ref: ref(6), Raw: raw, Undecided: true})                       // not finished: never
	for i := range batch.Receipts {
		batch.Receipts[i].Dispose = true
	}
	later := l.arrive(b, 7)
	later.Dispose, later.DisposeIn = true, time.Hour
	batch.Receipts = append(batch.Receipts, later, l.arrive(b, 8))
	return p.write(tb, b, batch)
}

func TestDueDispositionsFollowTheMailbox(t *testing.T) {
	t.Parallel()
	p := newPost(t)
	p.dispositions(t, p.fwd)
	p.dispositions(t, p.ann)
	for _, step := range []struct {
		change, fwd, ann string
	}{
		{`SELECT 1`, "", ""},
		{`UPDATE mailbox SET undeliverable_folder = 'Bad'`, "4:quarantined", "4:quarantined"},
		{`UPDATE mailbox SET undeliverable_folder = '', disposition = 'move', move_to = 'Done'`, "1:recorded 2:duplicate 3:ignored", "1:duplicate 2:duplicate"},
		{`UPDATE mailbox SET delete_ignored = true`, "1:recorded 2:duplicate 3:ignored", "1:duplicate 2:duplicate"},
		{`UPDATE folder_cursor SET uidvalidity = 78`, "", ""},
		{`UPDATE folder_cursor SET uidvalidity = 77`, "1:recorded 2:duplicate 3:ignored", "1:duplicate 2:duplicate"},
		{`UPDATE receipt SET dispose_at = now() WHERE dispose_at > now()`, "1:recorded 2:duplicate 3:ignored 7:duplicate", "1:duplicate 2:duplicate 7:duplicate"},
	} {
		p.exec(t, step.change)
		p.expectDue(t, p.fwd, step.fwd)
		p.expectDue(t, p.ann, step.ann)
	}
	if got, _ := p.due(t, p.fwd, 2); got != "1:recorded 2:duplicate" {
		t.Errorf("two of them: got %q", got)
	}
	first := p.expectDue(t, p.fwd, "1:recorded 2:duplicate 3:ignored 7:duplicate")[0]
	if first.Ref.Folder != "INBOX" || first.Ref.UIDValidity != validity || first.Ref.Octets != 1000 || first.ReceiptID == 0 {
		t.Errorf("got %+v", first)
	}
}

// The rule is written in SQL and in mailbox.DispositionOf.
func TestDueDispositionsAgreeWithDispositionOf(t *testing.T) {
	t.Parallel()
	p := newPost(t)
	p.exec(t, `UPDATE mailbox SET disposition = 'move', move_to = 'Done', undeliverable_folder = 'Bad', delete_ignored = mailbox_id = $1`, p.sales.id)
	p.exec(t, `UPDATE mailbox SET disposition = 'delete', move_to = '' WHERE mailbox_id = $1`, p.sales.id)
	p.dispositions(t, p.fwd)
	p.dispositions(t, p.ann)
	sales := p.ann.batch(1, letter{id: "a1@x", text: "t"})
	sales.FolderID = p.sales.folder
	for i, plan := range []receipt.Receipt{{Plan: receipt.Ignored, Reason: receipt.NotAccepted}, {Plan: receipt.Quarantined, Reason: receipt.Untrusted}} {
		plan.Raw, plan.Ordinal = sales.Receipts[0].Raw, i+1
		sales.Receipts = append(sales.Receipts, plan)
	}
	for i := range sales.Receipts {
		sales.Receipts[i].Ref, sales.Receipts[i].Dispose = uniqueID("u1", 1000), true
	}
	p.write(t, p.sales, sales)
	for _, b := range []box{p.fwd, p.ann, p.sales} {
		m, err := p.db.Mailbox(t.Context(), fmt.Sprint(b.id))
		if err != nil {
			t.Fatal(err)
		}
		_, list := p.due(t, b, 100)
		due := make(map[string]bool)
		for _, d := range list {
			due[string(d.Outcome)] = true
		}
		for _, o := range []receipt.Outcome{receipt.Recorded, receipt.Duplicate, receipt.Ignored, receipt.Quarantined} {
			disposition, _ := m.DispositionOf(string(o))
			if (b == p.sales || b == p.ann) && o == receipt.Recorded || b == p.sales && o == receipt.Duplicate {
				continue // there is none
			}
			if got, want := due[string(o)], disposition != mailbox.Leave; got != want {
				t.Errorf("%s, %s: due %t, DispositionOf says %s", m.Name, o, got, disposition)
			}
		}
	}
}

func TestMarkDisposed(t *testing.T) {
	t.Parallel()
	p := newPost(t)
	p.exec(t, `UPDATE mailbox SET disposition = 'move', move_to = 'Done', undeliverable_folder = 'Bad'`)
	results := p.dispositions(t, p.fwd)
	id := func(uid int) int64 { return results[uid-1].ReceiptID }
	mark := func(disposed ...source.Disposed) error { return p.db.MarkDisposed(t.Context(), p.fwd.lease, disposed) }
	if err := mark(source.Disposed{ReceiptID: id(1), Done: source.DoneCopied}, source.Disposed{ReceiptID: id(2), Done: source.DoneNot},
		source.Disposed{ReceiptID: id(3), Done: source.DoneYes}, source.Disposed{ReceiptID: id(4), Done: source.DoneGone}); err != nil {
		t.Fatal(err)
	}
	p.expectDue(t, p.fwd, "1:recorded:copied") // the second is put off
	p.exec(t, `UPDATE receipt SET dispose_at = now() WHERE disposition IN ('due', 'copied') AND uid = 2`)
	p.expectDue(t, p.fwd, "1:recorded:copied 2:duplicate")
	for range 2 { // repeated: harmless, and what is done stays done
		if err := mark(source.Disposed{ReceiptID: id(1), Done: source.DoneYes}, source.Disposed{ReceiptID: id(3), Done: source.DoneCopied}); err != nil {
			t.Fatal(err)
		}
		p.expectDue(t, p.fwd, "2:duplicate")
		p.expect(t, "done due done done", `SELECT disposition FROM receipt WHERE uid <= 4 ORDER BY uid`)
		p.expect(t, "true", `SELECT DISTINCT is_open::text FROM receipt`) // on IMAP a UID is never used again
	}
	if err := mark(); err != nil {
		t.Errorf("nothing to mark: %v", err)
	}
	for name, bad := range map[string]int64{"no disposition": id(5), "unknown": 1 << 40} {
		if err := mark(source.Disposed{ReceiptID: id(2), Done: source.DoneYes}, source.Disposed{ReceiptID: bad, Done: source.DoneYes}); err == nil {
			t.Errorf("%s: got no error", name)
		}
	}
	foreign := p.db.MarkDisposed(t.Context(), p.ann.lease, []source.Disposed{{ReceiptID: id(2), Done: source.DoneYes}})
	if foreign == nil {
		t.Error("marked with another mailbox's lease")
	}
	stale := p.fwd.lease
	stale.Token--
	if err := p.db.MarkDisposed(t.Context(), stale, []source.Disposed{{ReceiptID: id(2), Done: source.DoneYes}}); !errors.Is(err, mailbox.ErrLeaseLost) {
		t.Errorf("stale token: got %v", err)
	}
	p.expectDue(t, p.fwd, "2:duplicate")
}

// Some that fail at every poll must not keep the others of the folder from their turn.
func TestFailedDispositionsArePutOff(t *testing.T) {
	t.Parallel()
	p := newPost(t)
	p.exec(t, `UPDATE mailbox SET disposition = 'delete', undeliverable_folder = 'Bad' WHERE mailbox_id = $1`, p.fwd.id)
	p.exec(t, `INSERT INTO raw (sha256, octets, state) VALUES (sha256('x'), 1, 'stored')`)
	const enter = `INSERT INTO receipt (folder_id, uidvalidity, uid, octets, raw_id, state, outcome, reason, disposition, dispose_at)
		SELECT $1, 77, n, 10, (SELECT raw_id FROM raw), 'finished', 'quarantined', 'untrusted', $4, now() - $5::interval
		FROM generate_series($2::int, $3::int) n`
	p.exec(t, enter, p.fwd.folder, 1, 10, "due", "2 days")
	p.exec(t, enter, p.fwd.folder, 11, 12, "copied", "1 day")
	var not []source.Disposed
	for _, d := range p.expectFirst(t, p.fwd, 1, 10) {
		not = append(not, source.Disposed{ReceiptID: d.ReceiptID, Done: source.DoneNot, Err: errors.New("never")})
	}
	if err := p.db.MarkDisposed(t.Context(), p.fwd.lease, not); err != nil {
		t.Fatal(err)
	}
	list := p.expectFirst(t, p.fwd, 11, 12)
	if err := p.db.MarkDisposed(t.Context(), p.fwd.lease, []source.Disposed{{ReceiptID: list[0].ReceiptID}, {ReceiptID: list[1].ReceiptID}}); err != nil {
		t.Fatal(err)
	}
	p.expectDue(t, p.fwd, "")
	p.expect(t, "due 10 true, copied 2 true", `SELECT string_agg(s, ', ' ORDER BY s DESC) FROM (
		SELECT disposition || ' ' || count(*) || ' ' || bool_and(dispose_at BETWEEN now() + '9 min' AND now() + '10 min') AS s
		FROM receipt GROUP BY disposition) g`)
}

// expectFirst expects that the ten dispositions that come first are of the UIDs from first to last.
func (p *post) expectFirst(tb testing.TB, b box, first, last uint32) []receipt.Due {
	tb.Helper()
	_, list := p.due(tb, b, 10)
	if len(list) != int(last-first)+1 || list[0].Ref.UID != first || list[len(list)-1].Ref.UID != last {
		tb.Fatalf("due: got %+v, want uids %d to %d", list, first, last)
	}
	return list
}

// The date tells a message from another that got its UID, after a server was restored.
func TestDueDispositionsHaveTheDate(t *testing.T) {
	t.Parallel()
	p := newPost(t)
	p.exec(t, `UPDATE mailbox SET disposition = 'delete' WHERE mailbox_id = $1`, p.fwd.id)
	p.dispositions(t, p.fwd)
	date := time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)
	p.exec(t, `UPDATE receipt SET internaldate = CASE uid WHEN 1 THEN $1::timestamptz END`, date)
	list := p.expectDue(t, p.fwd, "1:recorded 2:duplicate 3:ignored")
	if !list[0].Ref.InternalDate.Equal(date) || !list[1].Ref.InternalDate.IsZero() {
		t.Errorf("dates: got %s and %s, want %s and none", list[0].Ref.InternalDate, list[1].Ref.InternalDate, date)
	}
}

// What the server has confirmed as deleted is no longer open: a new message may get its unique-id and have its size.
func TestDisposedOfMaildropIsClosed(t *testing.T) {
	t.Parallel()
	p := newPost(t)
	p.exec(t, `UPDATE mailbox SET disposition = 'delete' WHERE mailbox_id = $1`, p.sales.id)
	for uniqueID, want := range map[string]struct {
		done source.Done
		open string
	}{"u1": {source.DoneYes, "false"}, "u2": {source.DoneGone, "false"}, "u3": {source.DoneNot, "true"}} {
		r := letter{id: uniqueID + "@x", text: "t"}.maildrop(p.sales, uniqueID, 0, 0)
		r.Dispose = true
		id := p.write(t, p.sales, &receipt.Batch{FolderID: p.sales.folder, Receipts: []receipt.Receipt{r}})[0].ReceiptID
		if err := p.db.MarkDisposed(t.Context(), p.sales.lease, []source.Disposed{{ReceiptID: id, Done: want.done}}); err != nil {
			t.Fatal(err)
		}
		p.expect(t, want.open, fmt.Sprintf(`SELECT is_open::text FROM receipt WHERE receipt_id = %d`, id))
	}
	open, err := p.db.OpenRefs(t.Context(), p.sales.folder)
	if err != nil || len(open) != 1 || open[0].Digest != receipt.UniqueIDDigest("u3") {
		t.Errorf("open: got %+v and %v, want u3 alone", open, err)
	}
}

func TestVoidDispositions(t *testing.T) {
	t.Parallel()
	p := newPost(t)
	p.exec(t, `UPDATE mailbox SET disposition = 'move', move_to = 'Done'`)
	p.dispositions(t, p.fwd)
	stale := p.fwd.lease
	stale.Token--
	if err := p.db.VoidDispositions(t.Context(), stale, p.fwd.folder, 78); !errors.Is(err, mailbox.ErrLeaseLost) {
		t.Errorf("stale token: got %v", err)
	}
	if err := p.db.VoidDispositions(t.Context(), p.ann.lease, p.fwd.folder, 78); err != nil {
		t.Fatal(err)
	}
	if err := p.db.VoidDispositions(t.Context(), p.fwd.lease, p.fwd.folder, validity); err != nil {
		t.Fatal(err)
	}
	p.expectDue(t, p.fwd, "1:recorded 2:duplicate 3:ignored")
	if err := p.db.VoidDispositions(t.Context(), p.fwd.lease, p.fwd.folder, 78); err != nil {
		t.Fatal(err)
	}
	p.expectDue(t, p.fwd, "")
	p.expect(t, "5", `SELECT count(*)::text FROM receipt WHERE disposition = 'void'`)
}

func TestPOP3DispositionsNeedAnOpenReceipt(t *testing.T) {
	t.Parallel()
	p := newPost(t)
	p.exec(t, `UPDATE mailbox SET disposition = 'delete' WHERE mailbox_id = $1`, p.sales.id)
	r := letter{id: "a1@x", text: "t"}.maildrop(p.sales, "u1", 0, 2)
	r.Dispose = true
	results := p.write(t, p.sales, &receipt.Batch{FolderID: p.sales.folder, Receipts: []receipt.Receipt{r}})
	list := p.expectDue(t, p.sales, "0:recorded")
	if list[0].Digest != receipt.UniqueIDDigest("u1") || list[0].Ordinal != 2 || list[0].Ref.Octets != 1000 {
		t.Errorf("got %+v", list[0])
	}
	p.write(t, p.sales, &receipt.Batch{FolderID: p.sales.folder, Closed: []int64{results[0].ReceiptID}})
	p.expectDue(t, p.sales, "")
}
