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
	p.expectDue(t, p.fwd, "1:recorded:copied 2:duplicate")
	for range 2 { // repeated: harmless, and what is done stays done
		if err := mark(source.Disposed{ReceiptID: id(1), Done: source.DoneYes}, source.Disposed{ReceiptID: id(3), Done: source.DoneCopied}); err != nil {
			t.Fatal(err)
		}
		p.expectDue(t, p.fwd, "2:duplicate")
		p.expect(t, "done due done done", `SELECT disposition FROM receipt WHERE uid <= 4 ORDER BY uid`)
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
