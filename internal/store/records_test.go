package store_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"

	"github.com/postroom/postroom/internal/mailbox"
	"github.com/postroom/postroom/internal/pgtest"
	"github.com/postroom/postroom/internal/store"
)

// organisation writes a user who receives by a forward mailbox, and a queue of theirs that is polled.
func organisation(t *testing.T, db *store.DB) (person, queue *mailbox.Mailbox) {
	t.Helper()
	p := &mailbox.Profile{
		Name: "office", Protocol: mailbox.IMAP, Host: "imap.example.com", Port: 993, TLS: mailbox.ImplicitTLS, CAFile: "/ca.pem",
		MaxConnections: 3, Timeout: 90 * time.Second, PollTimeout: 25 * time.Hour, MaxOctets: 1 << 20,
		AuthservID: "mx.example.com", MXHosts: []string{"mx1", "mx2"}, Exchange: true,
	}
	u := store.User{Name: "Anna", Address: "Anna@example.com"}
	q := store.Queue{Name: "Support", Address: "support@example.com"}
	digest := make([]byte, 32)
	person = &mailbox.Mailbox{
		Name: "Anna", Kind: mailbox.User, Address: "Anna@example.com", Aliases: []string{"a@example.com", "b@example.com"},
		Incoming: mailbox.ForwardMailbox, Folders: []string{"INBOX"}, StartKind: mailbox.StartNow, PollInterval: time.Minute,
		Disposition: mailbox.Leave, DeleteAfter: 24 * time.Hour, Trust: mailbox.Enforce, Accept: mailbox.AcceptNone,
		PlusTokenDigest: digest, Enabled: true,
	}
	queue = &mailbox.Mailbox{
		Name: "Support", Kind: mailbox.Queue, Address: "support@example.com", Incoming: mailbox.ServerSide, Profile: p,
		Username: "support", SecretRef: "credential:support", Folders: []string{"Archive/2026", "INBOX"},
		StartKind: mailbox.StartDate, StartAt: time.Date(2026, 1, 31, 8, 0, 0, 0, time.UTC), PollInterval: 90 * time.Second,
		Priority: -3, Disposition: mailbox.Move, DeleteAfter: 48 * time.Hour, MoveTo: "Done", Undeliverable: "Bad",
		DeleteIgnored: true, Trust: mailbox.Enforce, Accept: mailbox.AcceptAll,
	}
	inTx(t, db, func(ctx context.Context, tx pgx.Tx) error {
		if err := errors.Join(store.LockRecords(ctx, tx), store.PutProfile(ctx, tx, p), store.PutUser(ctx, tx, &u)); err != nil {
			return err
		}
		q.OwnerID = u.ID
		if err := store.PutQueue(ctx, tx, &q); err != nil {
			return err
		}
		person.RegardingID, queue.RegardingID = u.ID, q.ID
		return errors.Join(store.PutMailbox(ctx, tx, person, false), store.PutMailbox(ctx, tx, queue, false))
	})
	return person, queue
}

func TestMailboxesComeBackAsTheyWereWritten(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	person, queue := organisation(t, db)
	got, err := db.Mailboxes(t.Context())
	if err != nil || len(got) != 2 {
		t.Fatalf("got %v, %v, want two mailboxes", got, err)
	}
	if got[0].EnabledAt.IsZero() || !got[1].EnabledAt.IsZero() {
		t.Errorf("enabled at %s and %s, want only the first to be", got[0].EnabledAt, got[1].EnabledAt)
	}
	person.EnabledAt = got[0].EnabledAt
	person.OwnerID, queue.OwnerID = "1", "1"
	queue.Aliases = []string{}
	if diff := cmp.Diff([]*mailbox.Mailbox{person, queue}, got); diff != "" {
		t.Errorf("mailboxes (-written +read):\n%s", diff)
	}
}

func TestMailboxByNameOrID(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	person, queue := organisation(t, db)
	for given, want := range map[string]int64{"Anna": person.ID, "Support": queue.ID, "2": queue.ID} {
		if m, err := db.Mailbox(t.Context(), given); err != nil || m.ID != want {
			t.Errorf("mailbox %q: got %v, %v, want id %d", given, m, err, want)
		}
	}
	for _, given := range []string{"anna", "77", ""} {
		if m, err := db.Mailbox(t.Context(), given); !errors.Is(err, store.ErrNoRecord) {
			t.Errorf("mailbox %q: got %v, %v, want ErrNoRecord", given, m, err)
		}
	}
}

func TestConstraintsHoldTheRules(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	person, queue := organisation(t, db)
	tests := []struct {
		name   string
		change func(person, queue *mailbox.Mailbox)
	}{
		{"a user's mail is deleted", func(p, _ *mailbox.Mailbox) { p.Disposition = mailbox.Delete }},
		{"an address of another", func(_, q *mailbox.Mailbox) { q.Aliases = []string{"B@EXAMPLE.com"} }},
		{"a folder of another", func(p, q *mailbox.Mailbox) {
			p.Incoming, p.Profile, p.Username, p.SecretRef = mailbox.ServerSide, q.Profile, "SUPPORT", "file:/x"
		}},
		{"polled without a password", func(_, q *mailbox.Mailbox) { q.SecretRef = "" }},
		{"a password in place of a reference", func(_, q *mailbox.Mailbox) { q.SecretRef = "hunter2" }},
		{"moved to nowhere", func(_, q *mailbox.Mailbox) { q.MoveTo = "" }},
		{"a forward mailbox with an owner", func(p, _ *mailbox.Mailbox) { p.Kind = mailbox.Forward }},
	}
	for _, tt := range tests {
		p, q := *person, *queue
		tt.change(&p, &q)
		err := db.InTx(t.Context(), pgx.TxOptions{}, func(ctx context.Context, tx pgx.Tx) error {
			if p.Kind == mailbox.Forward {
				_, err := tx.Exec(ctx, `UPDATE mailbox SET kind = 'forward' WHERE mailbox_id = $1`, p.ID)
				return err
			}
			if err := store.PutMailbox(ctx, tx, &p, false); err != nil {
				return err
			}
			return store.PutMailbox(ctx, tx, &q, false)
		})
		if err == nil {
			t.Errorf("%s: was written, want it refused", tt.name)
		}
	}
}

func TestPutMailboxKeepsFences(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	m := polled(t, db, "a", "h")
	d := register(t, db)
	l := claimOne(t, d)
	put := func(account bool) {
		t.Helper()
		inTx(t, db, func(ctx context.Context, tx pgx.Tx) error { return store.PutMailbox(ctx, tx, m, account) })
	}
	check := func() error {
		return db.InTx(t.Context(), pgx.TxOptions{}, func(ctx context.Context, tx pgx.Tx) error { return store.CheckLease(ctx, tx, l) })
	}
	m.Priority = 7
	put(false)
	if err := check(); err != nil {
		t.Errorf("an edit broke the poll off: %v", err)
	}
	var priority int
	if err := db.Pool().QueryRow(t.Context(), `SELECT priority FROM lease`).Scan(&priority); err != nil || priority != 7 {
		t.Errorf("priority of the lease: got %d, %v, want 7", priority, err)
	}
	m.Username = "other"
	put(true)
	if err := check(); !errors.Is(err, mailbox.ErrLeaseLost) {
		t.Errorf("the poll of another account goes on: got %v, want ErrLeaseLost", err)
	}
	if next := claimOne(t, d); next.Token <= l.Token+1 {
		t.Errorf("got token %d, want one above %d", next.Token, l.Token+1)
	}
	first, err := db.Mailbox(t.Context(), "a")
	if err != nil {
		t.Fatal(err)
	}
	m.Enabled = false
	put(false)
	m.Enabled = true
	put(false)
	if again, err := db.Mailbox(t.Context(), "a"); err != nil || !again.EnabledAt.Equal(first.EnabledAt) {
		t.Errorf("enabled at %v (%v), want still %v", again.EnabledAt, err, first.EnabledAt)
	}
	m.ID = 999
	if err := db.InTx(t.Context(), pgx.TxOptions{}, func(ctx context.Context, tx pgx.Tx) error {
		return store.PutMailbox(ctx, tx, m, false)
	}); err == nil {
		t.Error("a mailbox that is gone was written, want an error")
	}
}
