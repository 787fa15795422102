package store_test

import (
	"errors"
	"math"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/postroom/postroom/internal/fault"
	"github.com/postroom/postroom/internal/mailbox"
	"github.com/postroom/postroom/internal/pgtest"
	"github.com/postroom/postroom/internal/receipt"
	"github.com/postroom/postroom/internal/store"
)

func TestCursorsAreMadeWithTheStartPoint(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	day := time.Date(2026, 2, 1, 0, 0, 0, 0, time.UTC)
	start := func(kind mailbox.StartKind) func(*mailbox.Mailbox, *mailbox.Profile) {
		return func(m *mailbox.Mailbox, _ *mailbox.Profile) {
			m.StartKind = kind
			if kind == mailbox.StartDate {
				m.StartAt = day
			}
		}
	}
	for _, kind := range []mailbox.StartKind{mailbox.StartNow, mailbox.StartDate, mailbox.StartAll} {
		id := polled(t, db, string(kind), "h", start(kind)).ID
		m, err := db.Mailbox(t.Context(), string(kind))
		if err != nil {
			t.Fatal(err)
		}
		m.Folders = []string{"Work", "INBOX"}
		cursors, err := db.Cursors(t.Context(), m)
		if err != nil || len(cursors) != 2 {
			t.Fatalf("%s: got %v, %v, want two cursors", kind, cursors, err)
		}
		for i, folder := range []string{"Work", "INBOX"} {
			c := cursors[i]
			if c.Folder != folder || c.MailboxID != id || c.FolderID == 0 || c.Listed || c.UIDValidity != 0 || c.UIDNext != 0 {
				t.Errorf("%s: got cursor %+v, want a new one of %s", kind, c, folder)
			}
			if !c.StartAt.Equal(m.Start()) {
				t.Errorf("%s: starts at %s, want %s", kind, c.StartAt, m.Start())
			}
			if kind == mailbox.StartAll && !c.StartAt.IsZero() {
				t.Errorf("all: starts at %s, want the zero time", c.StartAt)
			}
		}
	}
}

func cursorsOf(t *testing.T, db *store.DB, m *mailbox.Mailbox) []mailbox.Cursor {
	t.Helper()
	cursors, err := db.Cursors(t.Context(), m)
	if err != nil {
		t.Fatal(err)
	}
	return cursors
}

func TestCursorsStay(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	m := polled(t, db, "a", "h")
	want := cursorsOf(t, db, m)[0]
	exec(t, db, `UPDATE folder_cursor SET uidvalidity = 4294967295, uid_next = 4294967296, start_uidvalidity = 4294967295,
		start_uid_next = 4294967296, messages = 12, listed_at = now() WHERE folder_id = $1`, want.FolderID)
	exec(t, db, `UPDATE mailbox SET enabled_at = now() + interval '1 day'`)
	want.UIDValidity, want.UIDNext, want.StartUIDValidity, want.StartUIDNext = math.MaxUint32, math.MaxUint32, math.MaxUint32, math.MaxUint32
	want.Messages, want.Listed = 12, true
	if diff := cmp.Diff([]mailbox.Cursor{want}, cursorsOf(t, db, m)); diff != "" {
		t.Errorf("cursors (-want +got):\n%s", diff)
	}
	m.Folders = []string{"New", "INBOX"}
	both := cursorsOf(t, db, m)
	if len(both) != 2 || both[0].Folder != "New" || both[0].Listed || !cmp.Equal(both[1], want) {
		t.Errorf("with a new folder: got %+v, want it beside %+v", both, want)
	}
	m.ID += 1000
	if _, err := db.Cursors(t.Context(), m); !errors.Is(err, store.ErrNoRecord) {
		t.Errorf("cursors of no mailbox: got %v, want ErrNoRecord", err)
	}
}

// Another account behind the same mailbox is another server as far as identities go.
func TestAnotherAccountHasCursorsOfItsOwn(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	m := polled(t, db, "a", "Mail.example.com")
	first := cursorsOf(t, db, m)[0]
	exec(t, db, `UPDATE folder_cursor SET uidvalidity = 7, uid_next = 100, listed_at = now()`)
	for _, change := range []func(m *mailbox.Mailbox){
		func(m *mailbox.Mailbox) { m.Username = "b" },
		func(m *mailbox.Mailbox) { m.Profile = &mailbox.Profile{Host: "other.example.com"} },
	} {
		other := *m
		change(&other)
		c := cursorsOf(t, db, &other)[0]
		if c.FolderID == first.FolderID || c.UIDValidity != 0 || c.UIDNext != 0 || c.Listed || !c.Moved {
			t.Errorf("account %s: got %+v, want a cursor of its own that was never listed, and that it has moved", store.Account(&other), c)
		}
		if !c.StartAt.Equal(first.StartAt) {
			t.Errorf("account %s: starts at %s, want %s as before", store.Account(&other), c.StartAt, first.StartAt)
		}
	}
	back := *m
	back.Profile = &mailbox.Profile{Host: "mail.EXAMPLE.com"} // the same one, written otherwise
	c := cursorsOf(t, db, &back)[0]
	if c.FolderID != first.FolderID || c.UIDNext != 100 || !c.Listed || c.Moved {
		t.Errorf("back again: got %+v, want the first one as it was left", c)
	}
	folders, err := db.Folders(t.Context(), m.ID)
	if err != nil || len(folders) != 1 || folders[0].UIDNext == nil || *folders[0].UIDNext != 100 {
		t.Errorf("shown folders: got %+v, %v, want the one of the account that is polled", folders, err)
	}
}

func TestNextEpoch(t *testing.T) {
	t.Parallel()
	p := newPost(t)
	p.exec(t, `UPDATE mailbox SET disposition = 'move', move_to = 'Done'`)
	results := p.dispositions(t, p.fwd)
	p.write(t, p.fwd, &receipt.Batch{FolderID: p.fwd.folder, Cursor: &receipt.Cursor{UIDValidity: validity, UIDNext: 9, StartUIDNext: 5}})
	stale := p.fwd.lease
	stale.Token--
	if _, err := p.db.NextEpoch(t.Context(), stale, p.fwd.folder); !errors.Is(err, mailbox.ErrLeaseLost) {
		t.Errorf("stale token: got %v, want ErrLeaseLost", err)
	}
	if _, err := p.db.NextEpoch(t.Context(), p.ann.lease, p.fwd.folder); fault.ClassOf(err) != fault.Stopping {
		t.Errorf("another mailbox's folder: got %v, want that it is refused", err)
	}
	p.expectDue(t, p.fwd, "1:recorded 2:duplicate 3:ignored")
	var start time.Time
	p.scan(t, []any{&start}, `SELECT start_at FROM folder_cursor WHERE folder_id = $1`, p.fwd.folder)
	var next mailbox.Cursor
	for try := range 2 { // the answer to the first may be lost
		c, err := p.db.NextEpoch(t.Context(), p.fwd.lease, p.fwd.folder)
		if err != nil {
			t.Fatal(err)
		}
		if try == 1 && c.FolderID != next.FolderID {
			t.Errorf("again: got folder %d, want %d", c.FolderID, next.FolderID)
		}
		next = c
	}
	want := mailbox.Cursor{FolderID: next.FolderID, MailboxID: p.fwd.id, Folder: "INBOX", StartAt: start.UTC()}
	if diff := cmp.Diff(want, next); diff != "" || next.FolderID == p.fwd.folder {
		t.Errorf("next epoch (-want +got):\n%s", diff)
	}
	p.expectDue(t, p.fwd, "")
	p.expect(t, "void", `SELECT DISTINCT disposition FROM receipt WHERE disposition IS NOT NULL AND disposition <> 'done'`)

	// The newest epoch is polled, and the UIDs of the old one are free in it.
	m := &mailbox.Mailbox{
		ID: p.fwd.id, Incoming: mailbox.ServerSide, Username: "x", Folders: []string{"INBOX"},
		Profile: &mailbox.Profile{Host: "mail.example.com"},
	}
	if got := cursorsOf(t, p.db, m); len(got) != 1 || got[0].FolderID != next.FolderID {
		t.Errorf("cursors: got %+v, want the newest epoch", got)
	}
	again := p.write(t, p.fwd, &receipt.Batch{FolderID: next.FolderID, Receipts: []receipt.Receipt{letter{id: "a1@x", text: "t"}.arrive(p.fwd, 1)}})
	expectOutcomes(t, again, "duplicate")
	if again[0].ReceiptID == results[0].ReceiptID {
		t.Error("a receipt of the old epoch was taken for one of the new")
	}
}

func TestOpenRefsAndGenerations(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	m := polled(t, db, "a", "h")
	m.Folders = []string{"INBOX", "Other"}
	cursors := cursorsOf(t, db, m)
	inbox, other := cursors[0].FolderID, cursors[1].FolderID
	put := func(folder int64, digest [16]byte, generation, ordinal int, open bool) (id int64) {
		t.Helper()
		err := db.Pool().QueryRow(t.Context(), `
			INSERT INTO receipt (folder_id, unique_id_digest, generation, ordinal, octets, state, is_open)
			VALUES ($1, $2, $3, $4, 100 + $3, 'baseline', $5) RETURNING receipt_id`,
			folder, digest[:], generation, ordinal, open).Scan(&id)
		if err != nil {
			t.Fatal(err)
		}
		return id
	}
	a, b, never := [16]byte{1}, [16]byte{2}, [16]byte{3}
	put(inbox, a, 0, 0, false)
	second := put(inbox, a, 1, 0, true)
	twin := put(inbox, b, 0, 1, true)
	plain := put(inbox, b, 0, 0, true)
	put(other, a, 9, 0, true)
	exec(t, db, `INSERT INTO receipt (folder_id, uidvalidity, uid, octets, state) VALUES ($1, 1, 1, 5, 'baseline')`, inbox)

	refs, err := db.OpenRefs(t.Context(), inbox)
	if err != nil {
		t.Fatal(err)
	}
	want := []receipt.OpenRef{
		{ReceiptID: second, Digest: a, Octets: 101, Generation: 1, State: "baseline"},
		{ReceiptID: plain, Digest: b, Octets: 100, State: "baseline"},
		{ReceiptID: twin, Digest: b, Octets: 100, Ordinal: 1, State: "baseline"},
	}
	if diff := cmp.Diff(want, refs); diff != "" {
		t.Errorf("open refs (-want +got):\n%s", diff)
	}
	generations, err := db.MaxGeneration(t.Context(), inbox, [][16]byte{a, b, never})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[[16]byte]int{a: 1, b: 0}, generations); diff != "" {
		t.Errorf("generations (-want +got):\n%s", diff)
	}
	if none, err := db.MaxGeneration(t.Context(), inbox, nil); err != nil || len(none) != 0 {
		t.Errorf("no digests: got %v, %v, want nothing", none, err)
	}
}
