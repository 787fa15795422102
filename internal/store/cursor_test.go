package store_test

import (
	"errors"
	"math"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

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
		cursors, err := db.Cursors(t.Context(), id, []string{"Work", "INBOX"})
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

func TestCursorsStay(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	m := polled(t, db, "a", "h")
	first, err := db.Cursors(t.Context(), m.ID, []string{"INBOX"})
	if err != nil {
		t.Fatal(err)
	}
	exec(t, db, `UPDATE folder_cursor SET uidvalidity = 4294967295, uid_next = 4294967296, listed_at = now() WHERE folder_id = $1`, first[0].FolderID)
	exec(t, db, `UPDATE mailbox SET enabled_at = now() + interval '1 day'`)
	again, err := db.Cursors(t.Context(), m.ID, []string{"INBOX"})
	if err != nil {
		t.Fatal(err)
	}
	want := first[0]
	want.UIDValidity, want.UIDNext, want.Listed = math.MaxUint32, math.MaxUint32, true
	if diff := cmp.Diff([]mailbox.Cursor{want}, again); diff != "" {
		t.Errorf("cursors (-want +got):\n%s", diff)
	}
	if _, err := db.Cursors(t.Context(), m.ID+1000, []string{"INBOX"}); !errors.Is(err, store.ErrNoRecord) {
		t.Errorf("cursors of no mailbox: got %v, want ErrNoRecord", err)
	}
}

func TestOpenRefsAndGenerations(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	m := polled(t, db, "a", "h")
	cursors, err := db.Cursors(t.Context(), m.ID, []string{"INBOX", "Other"})
	if err != nil {
		t.Fatal(err)
	}
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
