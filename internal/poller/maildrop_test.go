package poller_test

import (
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/postroom/postroom/internal/fault"
	"github.com/postroom/postroom/internal/mailbox"
	"github.com/postroom/postroom/internal/poller"
	"github.com/postroom/postroom/internal/receipt"
	"github.com/postroom/postroom/internal/source"
)

// drop is a maildrop's listing of messages with these unique-ids, n×100 octets for the nth.
func drop(ids ...string) source.Listing {
	l := source.Listing{Folder: "INBOX", Messages: len(ids), Complete: true}
	for i, id := range ids {
		l.Refs = append(l.Refs, source.Ref{Folder: "INBOX", UniqueID: id, Number: i + 1, Octets: int64(i+1) * 100})
	}
	return l
}

func known(id int64, uniqueID string, octets int64, generation, ordinal int) receipt.OpenRef {
	return receipt.OpenRef{
		ReceiptID: id, Digest: receipt.UniqueIDDigest(uniqueID), Octets: octets, Generation: generation, Ordinal: ordinal,
	}
}

func TestMaildropTakesWhatItDoesNotKnow(t *testing.T) {
	s := &server{listing: drop("a", "b", "c", "d")}
	l := &ledger{
		cursor: mailbox.Cursor{FolderID: 4, Folder: "INBOX", Listed: true, Messages: 3},
		open: []receipt.OpenRef{
			known(11, "a", 100, 0, 0), // as it was
			known(12, "b", 999, 3, 0), // another size: another message under a used unique-id
			known(13, "x", 500, 0, 0), // gone
		},
		generation: map[[16]byte]int{receipt.UniqueIDDigest("b"): 3, receipt.UniqueIDDigest("d"): 0}, // d came and went before
	}
	if _, err := poll(t, newPoller(s, l, nil), box(mailbox.POP3)); err != nil {
		t.Fatal(err)
	}
	got := map[string]int{}
	for _, a := range l.arrivals() {
		got[a.Ref.UniqueID] = a.Generation
	}
	if diff := cmp.Diff(map[string]int{"b": 4, "c": 0, "d": 1}, got); diff != "" {
		t.Errorf("taken, with generation: %s", diff)
	}
	if len(l.batches) != 1 || !slices.Equal(l.batches[0].Closed, []int64{12, 13}) {
		t.Errorf("batches: %+v", l.batches)
	}
	if s.since[0].Dates {
		t.Error("dates were asked for although the maildrop is known")
	}
}

func TestAnIncompleteListingClosesNothing(t *testing.T) {
	s := &server{listing: drop("a")}
	s.listing.Complete = false
	l := &ledger{
		cursor: mailbox.Cursor{Folder: "INBOX", Listed: true},
		open:   []receipt.OpenRef{known(11, "a", 100, 0, 0), known(13, "x", 500, 0, 0)},
	}
	if _, err := poll(t, newPoller(s, l, nil), box(mailbox.POP3)); err != nil {
		t.Fatal(err)
	}
	if len(l.batches) != 0 {
		t.Errorf("wrote %+v", l.batches)
	}
}

func TestAUniqueIDThatIsShownTwice(t *testing.T) {
	s := &server{listing: drop("a", "a", "a")}
	l := &ledger{
		cursor: mailbox.Cursor{Folder: "INBOX", Listed: true},
		open:   []receipt.OpenRef{known(11, "a", 100, 0, 0)},
	}
	if _, err := poll(t, newPoller(s, l, nil), box(mailbox.POP3)); err != nil {
		t.Fatal(err)
	}
	var ordinals []int
	for _, a := range l.arrivals() {
		ordinals = append(ordinals, a.Ordinal)
	}
	if !slices.Equal(ordinals, []int{1, 2}) {
		t.Errorf("took ordinals %v, want 1 and 2", ordinals)
	}
}

func TestAMaildropsStartPoint(t *testing.T) {
	start := time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
	s := &server{listing: drop("old", "new", "unknown")}
	s.listing.Refs[0].InternalDate = start.Add(-time.Minute)
	s.listing.Refs[1].InternalDate = start.Add(time.Minute)
	l := &ledger{cursor: mailbox.Cursor{Folder: "INBOX", StartAt: start}}
	m := box(mailbox.POP3)
	m.StartKind = mailbox.StartDate
	out, err := poll(t, newPoller(s, l, nil), m)
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]bool{}
	for _, a := range l.arrivals() {
		got[a.Ref.UniqueID] = a.Baseline
	}
	if diff := cmp.Diff(map[string]bool{"old": true, "new": false, "unknown": false}, got); diff != "" {
		t.Errorf("baseline: %s", diff)
	}
	if !s.since[0].Dates {
		t.Error("dates were not asked for")
	}
	if out.Listed != 2 {
		t.Errorf("listed %d as new, want 2", out.Listed)
	}
	if c := l.cursors(); len(c) != 1 || c[0].Messages != 3 {
		t.Errorf("cursor: %+v", c)
	}
}

func TestDispositionsAreOrderedByWhatThisSessionShows(t *testing.T) {
	s := &server{listing: drop("a", "b")}
	l := &ledger{
		cursor: mailbox.Cursor{Folder: "INBOX", Listed: true, Messages: 2},
		open:   []receipt.OpenRef{known(11, "a", 100, 0, 0), known(12, "b", 200, 0, 0)},
		due: []receipt.Due{
			{ReceiptID: 11, Digest: receipt.UniqueIDDigest("a"), Ref: source.Ref{Octets: 100}, Outcome: receipt.Recorded},
			{ReceiptID: 12, Digest: receipt.UniqueIDDigest("b"), Ref: source.Ref{Octets: 7}, Outcome: receipt.Recorded},      // another size
			{ReceiptID: 13, Digest: receipt.UniqueIDDigest("x"), Ref: source.Ref{Octets: 300}, Outcome: receipt.Recorded},    // not shown
			{ReceiptID: 14, Digest: receipt.UniqueIDDigest("a"), Ref: source.Ref{Octets: 100}, Outcome: receipt.Quarantined}, // is kept
		},
	}
	m := box(mailbox.POP3)
	m.Disposition = mailbox.Delete
	out, err := poll(t, newPoller(s, l, nil), m)
	if err != nil {
		t.Fatal(err)
	}
	if len(s.orders) != 1 || s.orders[0].ReceiptID != 11 || s.orders[0].Ref.UniqueID != "a" || s.orders[0].Action != source.Delete {
		t.Errorf("orders: %+v", s.orders)
	}
	if out.Disposed != 1 || len(l.marked) != 1 {
		t.Errorf("disposed %d, marked %+v", out.Disposed, l.marked)
	}
}

func TestOnlyWhatTheServerConfirmedIsMarked(t *testing.T) {
	s := &server{
		listing:  source.Listing{UIDValidity: 7, UIDNext: 3},
		disposed: []source.Disposed{{ReceiptID: 1, Done: source.DoneYes}, {ReceiptID: 2, Err: errors.New("NO")}},
		dispErr:  errors.New("connection lost"),
	}
	l := &ledger{
		cursor: mailbox.Cursor{Folder: "INBOX", UIDValidity: 7, UIDNext: 3, Listed: true},
		due:    []receipt.Due{{ReceiptID: 1, Outcome: receipt.Recorded}, {ReceiptID: 2, Outcome: receipt.Duplicate}},
	}
	m := box(mailbox.IMAP)
	m.Disposition, m.MoveTo = mailbox.Move, "Done"
	if _, err := poll(t, newPoller(s, l, nil), m); err == nil {
		t.Error("no error")
	}
	if len(l.marked) != 1 || l.marked[0].ReceiptID != 1 {
		t.Errorf("marked %+v, want the first alone", l.marked)
	}
	if len(s.orders) != 2 || s.orders[0].Target != "Done" {
		t.Errorf("orders: %+v", s.orders)
	}
}

// Hundreds that the server refuses every time must not keep the others of the folder from their turn. Fewer are tried at
// every poll, so that their error stays to be seen.
func TestRefusedDispositionsMakeRoom(t *testing.T) {
	const batch = 500
	for _, n := range []int{batch, batch - 1} {
		s := &server{listing: source.Listing{UIDValidity: 7, UIDNext: 3}}
		l := &ledger{cursor: mailbox.Cursor{Folder: "INBOX", UIDValidity: 7, UIDNext: 3, Listed: true}}
		for i := range n {
			l.due = append(l.due, receipt.Due{ReceiptID: int64(i + 1), Outcome: receipt.Recorded})
			s.disposed = append(s.disposed, source.Disposed{ReceiptID: int64(i + 1), Err: errors.New("NO")})
		}
		l.dueNext = []receipt.Due{{ReceiptID: 1000, Outcome: receipt.Recorded}}
		m := box(mailbox.IMAP)
		m.Disposition = mailbox.Delete
		if _, err := poll(t, newPoller(s, l, nil), m); err != nil {
			t.Fatal(err)
		}
		ordered := slices.ContainsFunc(s.orders, func(o source.Order) bool { return o.ReceiptID == 1000 })
		if full := n == batch; ordered != full || (len(l.marked) >= batch) != full {
			t.Errorf("%d refused: the one behind them was ordered: %t, %d marked, want %t and all if so", n, ordered, len(l.marked), full)
		}
	}
}

func TestACopyThatIsNeverDisposedOfIsAnError(t *testing.T) {
	for _, tt := range []struct {
		class fault.Class
		code  string // of the poll's error; "": none
	}{{fault.Permanent, "cannot"}, {fault.Transient, ""}} {
		s := &server{
			listing:  source.Listing{UIDValidity: 7, UIDNext: 3},
			disposed: []source.Disposed{{ReceiptID: 1, Done: source.DoneYes}, {ReceiptID: 2, Err: fault.New(tt.class, "cannot", "", errors.New("NO"))}},
		}
		l := &ledger{
			cursor: mailbox.Cursor{Folder: "INBOX", UIDValidity: 7, UIDNext: 3, Listed: true},
			due:    []receipt.Due{{ReceiptID: 1, Outcome: receipt.Recorded}, {ReceiptID: 2, Outcome: receipt.Duplicate}},
		}
		m := box(mailbox.IMAP)
		m.Disposition, m.MoveTo = mailbox.Move, "Done"
		out, err := poll(t, newPoller(s, l, nil), m)
		if _, code, _, _ := fault.Describe(err); code != tt.code {
			t.Errorf("%s refusal: got error %v, want code %q", tt.class, err, tt.code)
		}
		if !out.Partial || len(l.marked) != 1 {
			t.Errorf("%s refusal: got partial %t and marked %+v, want that mail was read and the first marked", tt.class, out.Partial, l.marked)
		}
	}
}

func TestNoCopyIsTouchedWhereCommitsMayBeLost(t *testing.T) {
	s := &server{listing: source.Listing{UIDValidity: 7, UIDNext: 3}}
	l := &ledger{
		cursor: mailbox.Cursor{Folder: "INBOX", UIDValidity: 7, UIDNext: 3, Listed: true},
		due:    []receipt.Due{{ReceiptID: 1, Outcome: receipt.Recorded}},
	}
	m := box(mailbox.IMAP)
	m.Disposition = mailbox.Delete
	if _, err := poll(t, newPoller(s, l, func(o *poller.Options) { o.KeepCopies = "fsync is off" }), m); err != nil {
		t.Fatal(err)
	}
	if len(s.orders) > 0 {
		t.Errorf("orders: %+v", s.orders)
	}
}
