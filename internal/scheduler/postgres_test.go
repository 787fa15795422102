package scheduler_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/postroom/postroom/internal/mailbox"
	"github.com/postroom/postroom/internal/pgtest"
	"github.com/postroom/postroom/internal/scheduler"
	"github.com/postroom/postroom/internal/store"
)

// mailboxes writes n polled mailboxes on hosts host0, host1 and so on.
func mailboxes(t *testing.T, db *store.DB, n, hosts int, interval time.Duration) {
	t.Helper()
	err := db.InTx(t.Context(), pgx.TxOptions{}, func(ctx context.Context, tx pgx.Tx) error {
		for i := range n {
			name := fmt.Sprintf("m%02d", i)
			p := &mailbox.Profile{
				Name: name, Protocol: mailbox.IMAP, Host: fmt.Sprint("host", i%hosts), Port: 993, TLS: mailbox.ImplicitTLS,
				MaxConnections: 100, Timeout: time.Minute, PollTimeout: time.Minute, MaxOctets: 1 << 20,
			}
			q := store.Queue{Name: name, Address: name + "@example.com"}
			if err := errors.Join(store.PutProfile(ctx, tx, p), store.PutQueue(ctx, tx, &q)); err != nil {
				return err
			}
			if err := store.PutMailbox(ctx, tx, &mailbox.Mailbox{
				Name: name, Kind: mailbox.Queue, RegardingID: q.ID, Address: q.Address, Incoming: mailbox.ServerSide, Profile: p,
				Username: name, SecretRef: "file:/x", Folders: []string{"INBOX"}, StartKind: mailbox.StartNow, PollInterval: interval,
				Disposition: mailbox.Leave, Trust: mailbox.Enforce, Accept: mailbox.AcceptAll, Enabled: true,
			}, false); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func daemon(t *testing.T, db *store.DB, stale time.Duration) *store.Daemon {
	t.Helper()
	d, err := db.Register(t.Context(), "host", 1, "test", stale)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func TestTwoSchedulersShareMailboxes(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	const n = 24
	mailboxes(t, db, n, 6, time.Second)
	var mu sync.Mutex
	polling := map[int64]bool{}
	polls := map[int64]int{}
	var all []*running
	for range 2 {
		d := daemon(t, db, 30*time.Second)
		all = append(all, run(t, scheduler.Config{Workers: 6, Check: 50 * time.Millisecond}, d,
			func(ctx context.Context, l mailbox.Lease) (time.Duration, error) {
				mu.Lock()
				if polling[l.MailboxID] {
					t.Errorf("mailbox %d is polled twice at once", l.MailboxID)
				}
				polling[l.MailboxID] = true
				polls[l.MailboxID]++
				mu.Unlock()
				next, err := db.PollSucceeded(ctx, l)
				mu.Lock()
				polling[l.MailboxID] = false
				mu.Unlock()
				return next, err
			}))
	}
	until(t, "every mailbox was polled twice", func() bool {
		mu.Lock()
		defer mu.Unlock()
		for _, count := range polls {
			if count < 2 {
				return false
			}
		}
		return len(polls) == n
	})
	for _, r := range all {
		r.stop()
		r.wait(t)
		if s := r.Stats(); s.Polls == 0 || s.Failures != 0 || s.Lost != 0 {
			t.Errorf("stats: %+v, want polls without failures by each daemon", s)
		}
	}
	var held int
	if err := db.Pool().QueryRow(t.Context(), `SELECT count(*) FROM lease WHERE daemon_id IS NOT NULL`).Scan(&held); err != nil || held != 0 {
		t.Errorf("%d leases are held after the end, %v, want none", held, err)
	}
}

// deaf is a daemon whose process hangs: it beats no more.
type deaf struct {
	*store.Daemon
	mu   sync.Mutex
	hung bool
}

func (d *deaf) Heartbeat(ctx context.Context) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.hung {
		return errors.New("hung")
	}
	return d.Daemon.Heartbeat(ctx)
}

func TestHungDaemonIsTakenOverAndFencedOff(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	mailboxes(t, db, 1, 1, time.Minute)
	const stale = 2 * time.Second
	old := &deaf{Daemon: daemon(t, db, stale)}
	claimed, taken, refused := make(chan mailbox.Lease, 1), make(chan mailbox.Lease, 1), make(chan error, 1)
	gate := make(chan struct{})
	cfg := scheduler.Config{StaleAfter: stale, HeartbeatEvery: 50 * time.Millisecond, Check: 20 * time.Millisecond}
	first := run(t, cfg, old, func(ctx context.Context, l mailbox.Lease) (time.Duration, error) {
		claimed <- l
		<-gate // deaf to its context, too
		_, err := db.PollSucceeded(context.WithoutCancel(ctx), l)
		refused <- err
		return 0, err
	})
	a := receive(t, claimed, "the first daemon polls")
	old.mu.Lock()
	old.hung = true
	old.mu.Unlock()
	second := run(t, cfg, daemon(t, db, stale), func(ctx context.Context, l mailbox.Lease) (time.Duration, error) {
		next, err := db.PollSucceeded(ctx, l)
		taken <- l
		return next, err
	})
	b := receive(t, taken, "the second daemon takes over")
	if b.MailboxID != a.MailboxID || b.Token <= a.Token {
		t.Errorf("got lease %+v, want mailbox %d with a token above %d", b, a.MailboxID, a.Token)
	}
	close(gate)
	if err := receive(t, refused, "the first daemon's write"); !errors.Is(err, mailbox.ErrLeaseLost) {
		t.Errorf("write of the old daemon: got %v, want ErrLeaseLost", err)
	}
	until(t, "the first daemon notices", func() bool { return first.Stats().Lost == 1 })
	if s := second.Stats(); s.Failures != 0 {
		t.Errorf("second daemon: %+v, want no failure", s)
	}
}

func TestFailuresAreWrittenToTheState(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	mailboxes(t, db, 1, 1, time.Minute)
	r := run(t, scheduler.Config{}, daemon(t, db, time.Minute), func(_ context.Context, l mailbox.Lease) (time.Duration, error) {
		var nothing []time.Duration
		return nothing[l.Token], nil
	})
	until(t, "it has panicked", func() bool { return r.Stats().Polls == 1 })
	var code string
	var failures int
	var wait time.Duration
	err := db.Pool().QueryRow(t.Context(), `
		SELECT error_code, failures, next_at - now() FROM mailbox_state JOIN lease ON target_id = mailbox_id`).Scan(&code, &failures, &wait)
	if err != nil || code != "poll_panicked" || failures != 1 || wait < 40*time.Second {
		t.Errorf("got %s, %d failures, next in %s, %v, want poll_panicked, 1, about 1m", code, failures, wait, err)
	}
	if r.Stats().Panics != 1 {
		t.Errorf("stats: %+v, want one panic", r.Stats())
	}
}
