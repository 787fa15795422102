package store_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/postroom/postroom/internal/fault"
	"github.com/postroom/postroom/internal/mailbox"
	"github.com/postroom/postroom/internal/pgtest"
	"github.com/postroom/postroom/internal/store"
)

const leaseStale = 30 * time.Second

// polled writes a queue with a mailbox that is polled at host, due at once.
func polled(t *testing.T, db *store.DB, name, host string, change ...func(*mailbox.Mailbox, *mailbox.Profile)) *mailbox.Mailbox {
	t.Helper()
	m := &mailbox.Mailbox{
		Name: name, Kind: mailbox.Queue, Address: name + "@example.com", Incoming: mailbox.ServerSide,
		Username: name, SecretRef: "file:/secret", Folders: []string{"INBOX"}, StartKind: mailbox.StartNow,
		PollInterval: time.Minute, Disposition: mailbox.Leave, DeleteAfter: time.Hour, Trust: mailbox.Enforce,
		Accept: mailbox.AcceptAll, Enabled: true,
	}
	p := &mailbox.Profile{
		Name: host, Protocol: mailbox.IMAP, Host: host, Port: 993, TLS: mailbox.ImplicitTLS, MaxConnections: 100,
		Timeout: time.Minute, PollTimeout: 7 * time.Minute, MaxOctets: 1 << 20,
	}
	for _, f := range change {
		f(m, p)
	}
	inTx(t, db, func(ctx context.Context, tx pgx.Tx) error {
		err := tx.QueryRow(ctx, `SELECT profile_id FROM profile WHERE name = $1`, p.Name).Scan(&p.ID)
		if errors.Is(err, pgx.ErrNoRows) {
			err = store.PutProfile(ctx, tx, p)
		}
		q := store.Queue{Name: name, Address: m.Address}
		if err == nil {
			err = store.PutQueue(ctx, tx, &q)
		}
		if err != nil {
			return err
		}
		m.RegardingID, m.Profile = q.ID, p
		return store.PutMailbox(ctx, tx, m, false)
	})
	return m
}

func inTx(t *testing.T, db *store.DB, fn func(ctx context.Context, tx pgx.Tx) error) {
	t.Helper()
	if err := db.InTx(t.Context(), pgx.TxOptions{}, fn); err != nil {
		t.Fatalf("transaction: %v", err)
	}
}

func exec(tb testing.TB, db *store.DB, sql string, args ...any) {
	tb.Helper()
	if _, err := db.Pool().Exec(tb.Context(), sql, args...); err != nil {
		tb.Fatalf("%s: %v", sql, err)
	}
}

func register(t *testing.T, db *store.DB) *store.Daemon {
	t.Helper()
	d, err := db.Register(t.Context(), "mail1", 4711, "test", leaseStale)
	if err != nil {
		t.Fatalf("register: %v", err)
	}
	return d
}

func claim(t *testing.T, d *store.Daemon, n, perHost int) []mailbox.Lease {
	t.Helper()
	leases, _, err := d.Claim(t.Context(), n, perHost)
	if err != nil {
		t.Fatalf("claim: %v", err)
	}
	return leases
}

func claimOne(t *testing.T, d *store.Daemon) mailbox.Lease {
	t.Helper()
	leases := claim(t, d, 1, 10)
	if len(leases) != 1 {
		t.Fatalf("got %d leases, want 1", len(leases))
	}
	return leases[0]
}

func ids(leases []mailbox.Lease) []int64 {
	var all []int64
	for _, l := range leases {
		all = append(all, l.MailboxID)
	}
	slices.Sort(all)
	return all
}

func TestClaimTakesWhatIsDueOnce(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	m := polled(t, db, "a", "IMAP.example.com")
	polled(t, db, "disabled", "imap.example.com", func(m *mailbox.Mailbox, _ *mailbox.Profile) { m.Enabled = false })
	later := polled(t, db, "later", "imap.example.com")
	exec(t, db, `UPDATE lease SET next_at = now() + interval '90 seconds' WHERE target_id = $1`, later.ID)
	a, b := register(t, db), register(t, db)

	leases, next, err := a.Claim(t.Context(), 10, 10)
	if err != nil || len(leases) != 1 {
		t.Fatalf("claim: got %v, %v, want one lease", leases, err)
	}
	want := mailbox.Lease{MailboxID: m.ID, DaemonID: a.ID(), Token: 1, Host: "imap.example.com", PollTimeout: 7 * time.Minute}
	if leases[0] != want {
		t.Errorf("got lease %+v, want %+v", leases[0], want)
	}
	if next < 80*time.Second || next > 90*time.Second {
		t.Errorf("next falls due in %s, want just under 90s", next)
	}
	for _, d := range []*store.Daemon{a, b} {
		if again := claim(t, d, 10, 10); len(again) != 0 {
			t.Errorf("claimed again while it is held: %+v", again)
		}
	}
	if err := a.Release(t.Context(), leases[0], time.Minute); err != nil {
		t.Fatalf("release: %v", err)
	}
	if again := claim(t, b, 10, 10); len(again) != 0 {
		t.Errorf("claimed before it is due again: %+v", again)
	}
	exec(t, db, `UPDATE lease SET next_at = now()`)
	if l := claim(t, b, 10, 10); len(l) != 2 {
		t.Errorf("got %d leases, want 2", len(l))
	}
}

func TestClaimKeepsOrder(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	prio := func(n int) func(*mailbox.Mailbox, *mailbox.Profile) {
		return func(m *mailbox.Mailbox, _ *mailbox.Profile) { m.Priority = n }
	}
	low := polled(t, db, "low", "h1", prio(-5))
	old := polled(t, db, "old", "h2")
	recent := polled(t, db, "recent", "h3")
	high := polled(t, db, "high", "h4", prio(5))
	patient := polled(t, db, "patient", "h5", prio(-10)) // has waited for so long that priority no longer counts
	set := func(m *mailbox.Mailbox, ago string) {
		exec(t, db, `UPDATE lease SET next_at = now() - $2::interval WHERE target_id = $1`, m.ID, ago)
	}
	set(low, "10 s")
	set(old, "20 s")
	set(recent, "10 s")
	set(high, "1 s")
	set(patient, "3 h")
	d := register(t, db)
	for i, want := range []*mailbox.Mailbox{patient, high, old, recent, low} {
		if got := claimOne(t, d); got.MailboxID != want.ID {
			t.Errorf("claim %d: got mailbox %d, want %s (%d)", i, got.MailboxID, want.Name, want.ID)
		}
	}
}

func TestClaimLimitsHostsAndProfiles(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	for i := range 6 {
		polled(t, db, fmt.Sprintf("slow%d", i), "slow.example.com")
	}
	for i := range 6 {
		polled(t, db, fmt.Sprintf("small%d", i), "small.example.com", func(_ *mailbox.Mailbox, p *mailbox.Profile) { p.MaxConnections = 3 })
	}
	fast := polled(t, db, "fast", "fast.example.com")
	count := func(leases []mailbox.Lease) map[string]int {
		n := map[string]int{}
		for _, l := range leases {
			n[l.Host]++
		}
		return n
	}
	a := register(t, db)
	first := claim(t, a, 100, 4)
	if n := count(first); n["slow.example.com"] != 4 || n["small.example.com"] != 3 || n["fast.example.com"] != 1 {
		t.Errorf("alone: got %v, want 4 slow, 3 small, 1 fast", n)
	}
	if more := claim(t, a, 100, 4); len(more) != 0 {
		t.Errorf("at the limits: got %+v, want nothing", more)
	}
	if err := a.Release(t.Context(), first[0], time.Hour); err != nil {
		t.Fatal(err)
	}
	if more := claim(t, a, 100, 4); len(more) != 1 && first[0].MailboxID != fast.ID {
		t.Errorf("after one was released: got %+v, want one", more)
	}
	// A second daemon halves the profile's connections: 3 / 2 = 1.
	b := register(t, db)
	if n := count(claim(t, b, 100, 4)); n["small.example.com"] != 1 || n["slow.example.com"] == 0 {
		t.Errorf("second daemon: got %v, want 1 small and what is left of slow", n)
	}
}

// crowd writes mailboxes that are due, each host with a profile of its own, with mailboxes of many priorities.
func crowd(tb testing.TB, db *store.DB, mailboxes, hosts int) {
	tb.Helper()
	exec(tb, db, `
		INSERT INTO profile (name, protocol, host, port, tls, max_connections)
		SELECT 'p' || n, 'imap', 'h' || n, 993, 'implicit', 300 FROM generate_series(1, $1::int) n`, hosts)
	exec(tb, db, `
		INSERT INTO mailbox (name, kind, address, incoming, profile_id, username, secret_ref, enabled, enabled_at, priority)
		SELECT 'm' || n, 'forward', 'm' || n || '@example.com', 'server_side', (SELECT min(profile_id) FROM profile) + n % $2::int,
			'u' || n, 'file:/secret', true, now(), n * 7 % 21 - 10 FROM generate_series(1, $1::int) n`, mailboxes, hosts)
	exec(tb, db, `
		INSERT INTO lease (kind, target_id, next_at, priority)
		SELECT 'mailbox', mailbox_id, now() - mailbox_id * 7919 % 3600 * interval '1 second', priority FROM mailbox`)
	exec(tb, db, `ANALYZE`)
}

// However many are due, they come in the order of their urgency.
func TestClaimKeepsOrderOfMany(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	crowd(t, db, 1500, 7)
	rows, err := db.Pool().Query(t.Context(), `
		SELECT target_id FROM lease ORDER BY priority + extract(epoch FROM now() - next_at) / 300 DESC, target_id`)
	if err != nil {
		t.Fatal(err)
	}
	want, err := pgx.CollectRows(rows, pgx.RowTo[int64])
	if err != nil {
		t.Fatal(err)
	}
	d := register(t, db)
	for _, n := range []int{1, 20, 1, 600, 50} {
		got := ids(claim(t, d, n, 1000))
		next := slices.Clone(want[:n])
		slices.Sort(next)
		if !slices.Equal(got, next) {
			t.Errorf("claim of %d: got %v, want the next most urgent %v", n, got, next)
		}
		want = want[n:]
	}
}

// However many of a busy host are more urgent, another host's mailbox is not kept waiting.
func TestClaimPassesABusyHost(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	crowd(t, db, 1200, 1)
	fast := polled(t, db, "fast", "fast.example.com")
	d := register(t, db)
	got := claim(t, d, 5, 3)
	if n := len(got); n != 4 || !slices.Contains(ids(got), fast.ID) {
		t.Errorf("got %+v, want three of the busy host and mailbox %d", got, fast.ID)
	}
	if more := claim(t, d, 5, 3); len(more) != 0 {
		t.Errorf("at the host's limit: got %+v, want none", more)
	}
}

func BenchmarkClaim(b *testing.B) {
	db := pgtest.New(b)
	crowd(b, db, 10_000, 200)
	d, err := db.Register(b.Context(), "mail1", 4711, "test", leaseStale)
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		leases, _, err := d.Claim(b.Context(), 1, 300)
		if err != nil || len(leases) != 1 {
			b.Fatalf("got %v and %v, want one", leases, err)
		}
		b.StopTimer()
		if err := d.Release(b.Context(), leases[0], time.Hour); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
	}
}

func TestStaleDaemonLosesItsMailbox(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	m := polled(t, db, "a", "h")
	dead, alive := register(t, db), register(t, db)
	old := claimOne(t, dead)
	if l := claim(t, alive, 1, 1); len(l) != 0 {
		t.Fatalf("took the mailbox of a daemon that lives: %+v", l)
	}
	exec(t, db, `UPDATE daemon SET heartbeat_at = now() - $2::interval WHERE daemon_id = $1`, dead.ID(), leaseStale+time.Second)
	fresh := claimOne(t, alive)
	if fresh.MailboxID != m.ID || fresh.Token != old.Token+1 {
		t.Errorf("got %+v, want mailbox %d with token %d", fresh, m.ID, old.Token+1)
	}
	// The dead one wakes up: nothing it writes counts.
	if err := db.InTx(t.Context(), pgx.TxOptions{}, func(ctx context.Context, tx pgx.Tx) error {
		return store.CheckLease(ctx, tx, old)
	}); !errors.Is(err, mailbox.ErrLeaseLost) || fault.ClassOf(err) != fault.Stopping {
		t.Errorf("check of the old lease: got %v, want ErrLeaseLost of class stopping", err)
	}
	if err := dead.Release(t.Context(), old, 0); !errors.Is(err, mailbox.ErrLeaseLost) {
		t.Errorf("release of the old lease: got %v, want ErrLeaseLost", err)
	}
	if _, err := db.PollSucceeded(t.Context(), old); !errors.Is(err, mailbox.ErrLeaseLost) {
		t.Errorf("success under the old lease: got %v, want ErrLeaseLost", err)
	}
	if _, err := db.PollFailed(t.Context(), old, errors.New("x")); !errors.Is(err, mailbox.ErrLeaseLost) {
		t.Errorf("failure under the old lease: got %v, want ErrLeaseLost", err)
	}
	inTx(t, db, func(ctx context.Context, tx pgx.Tx) error { return store.CheckLease(ctx, tx, fresh) })
}

func TestCheckLeaseHoldsOffClaims(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	polled(t, db, "a", "h")
	dead, alive := register(t, db), register(t, db)
	l := claimOne(t, dead)
	exec(t, db, `UPDATE daemon SET heartbeat_at = now() - interval '1 hour' WHERE daemon_id = $1`, dead.ID())
	inTx(t, db, func(ctx context.Context, tx pgx.Tx) error {
		if err := store.CheckLease(ctx, tx, l); err != nil {
			return err
		}
		got, _, err := alive.Claim(ctx, 1, 1)
		if len(got) != 0 {
			t.Errorf("claimed between the check and the commit: %+v", got)
		}
		return err
	})
	claimOne(t, alive)
}

func TestDeregisterFreesAtOnce(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	polled(t, db, "a", "h")
	a, b := register(t, db), register(t, db)
	claimOne(t, a)
	daemons, err := db.Daemons(t.Context())
	if err != nil || len(daemons) != 2 || daemons[0].Leases+daemons[1].Leases != 1 || daemons[0].Host != "mail1" {
		t.Errorf("daemons: got %+v, %v, want two, one of them with a lease", daemons, err)
	}
	if err := a.Deregister(t.Context()); err != nil {
		t.Fatal(err)
	}
	claimOne(t, b)
}

func TestLostClaimIsFoundAgain(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	m := polled(t, db, "a", "h")
	d := register(t, db)
	// As if Claim had been committed and its answer lost.
	exec(t, db, `UPDATE lease SET daemon_id = $1, token = 41, claimed_at = now()`, d.ID())
	if l := claimOne(t, d); l.MailboxID != m.ID || l.Token != 42 {
		t.Errorf("got %+v, want mailbox %d with token 42", l, m.ID)
	}
	if l := claim(t, d, 1, 1); len(l) != 0 {
		t.Errorf("claimed again what it holds: %+v", l)
	}
}

func TestHeartbeatBringsARowBack(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	d := register(t, db)
	exec(t, db, `UPDATE daemon SET heartbeat_at = now() - interval '2 days'`)
	register(t, db) // removes rows that old
	if daemons, err := db.Daemons(t.Context()); err != nil || len(daemons) != 1 || daemons[0].ID == d.ID() {
		t.Fatalf("got %+v, %v, want the new daemon alone", daemons, err)
	}
	if err := d.Heartbeat(t.Context()); err != nil {
		t.Fatal(err)
	}
	if daemons, err := db.Daemons(t.Context()); err != nil || len(daemons) != 2 {
		t.Errorf("got %+v, %v, want both", daemons, err)
	}
}

func TestPollNow(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	m := polled(t, db, "a", "h")
	off := polled(t, db, "off", "h", func(m *mailbox.Mailbox, _ *mailbox.Profile) { m.Enabled = false })
	exec(t, db, `UPDATE lease SET next_at = now() + interval '1 hour'`)
	d := register(t, db)
	listener, err := db.Pool().Acquire(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Release()
	if _, err := listener.Exec(t.Context(), `LISTEN poll_now`); err != nil {
		t.Fatal(err)
	}
	if err := db.PollNow(t.Context(), m.ID); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if n, err := listener.Conn().WaitForNotification(ctx); err != nil || n.Channel != "poll_now" {
		t.Errorf("got %v, %v, want a hint on poll_now", n, err)
	}
	l := claimOne(t, d)
	// While it is being polled: once more afterwards.
	if err := db.PollNow(t.Context(), m.ID); err != nil {
		t.Fatal(err)
	}
	if err := d.Release(t.Context(), l, time.Hour); err != nil {
		t.Fatal(err)
	}
	l = claimOne(t, d)
	if err := d.Release(t.Context(), l, time.Hour); err != nil {
		t.Fatal(err)
	}
	if got := claim(t, d, 1, 1); len(got) != 0 {
		t.Errorf("polled a third time: %+v", got)
	}
	for _, id := range []int64{off.ID, 12345} {
		if _, code, _, _ := fault.Describe(db.PollNow(t.Context(), id)); code != "not_polled" {
			t.Errorf("poll now of mailbox %d: got code %q, want not_polled", id, code)
		}
	}
}

func TestManyDaemonsShareWithoutOverlap(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	const mailboxes, daemons = 60, 4
	for i := range mailboxes {
		polled(t, db, fmt.Sprintf("m%02d", i), fmt.Sprintf("h%d", i%7))
	}
	var mu sync.Mutex
	var all []mailbox.Lease
	var wg sync.WaitGroup
	for range daemons {
		d := register(t, db)
		wg.Go(func() {
			for {
				leases, _, err := d.Claim(t.Context(), 3, 100)
				if err != nil {
					t.Errorf("claim: %v", err)
					return
				}
				if len(leases) == 0 {
					return
				}
				mu.Lock()
				all = append(all, leases...)
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	got := ids(all)
	if distinct := len(slices.Compact(slices.Clone(got))); len(got) != mailboxes || distinct != mailboxes {
		t.Errorf("got %d claims of %d mailboxes, want each of %d once", len(got), distinct, mailboxes)
	}
}
