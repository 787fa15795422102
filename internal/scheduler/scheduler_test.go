package scheduler_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"
	"go.uber.org/goleak"

	"github.com/postroom/postroom/internal/fault"
	"github.com/postroom/postroom/internal/mailbox"
	"github.com/postroom/postroom/internal/pgtest"
	"github.com/postroom/postroom/internal/scheduler"
)

const patience = 20 * time.Second

// fake is a Leaser in memory, with the limits of the real one and faults that a test sets.
type fake struct {
	mu       sync.Mutex
	due      []mailbox.Lease
	held     map[int64]mailbox.Lease
	most     int // held at once
	asked    []int
	released map[int64][]time.Duration
	failed   map[int64][]error
	claims   int
	silent   error // of Heartbeat
	claimErr error
	lost     map[int64]bool
}

func newFake(hosts ...string) *fake {
	f := &fake{held: map[int64]mailbox.Lease{}, released: map[int64][]time.Duration{}, failed: map[int64][]error{}, lost: map[int64]bool{}}
	for i, host := range hosts {
		f.due = append(f.due, mailbox.Lease{MailboxID: int64(i + 1), DaemonID: uuid.New(), Token: 1, Host: host, PollTimeout: time.Minute})
	}
	return f
}

func (f *fake) Claim(_ context.Context, n, perHost int) ([]mailbox.Lease, time.Duration, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.claims++
	f.asked = append(f.asked, n)
	if f.claimErr != nil {
		return nil, 0, f.claimErr
	}
	host := map[string]int{}
	for _, l := range f.held {
		host[l.Host]++
	}
	var got, rest []mailbox.Lease
	for _, l := range f.due {
		if len(got) < n && host[l.Host] < perHost {
			host[l.Host]++
			f.held[l.MailboxID] = l
			got = append(got, l)
			continue
		}
		rest = append(rest, l)
	}
	f.due = rest
	f.most = max(f.most, len(f.held))
	return got, time.Hour, nil
}

func (f *fake) Release(_ context.Context, l mailbox.Lease, next time.Duration) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.held, l.MailboxID)
	if f.lost[l.MailboxID] {
		return fault.New(fault.Stopping, "lease_lost", "", mailbox.ErrLeaseLost)
	}
	f.released[l.MailboxID] = append(f.released[l.MailboxID], next)
	return nil
}

func (f *fake) Heartbeat(context.Context) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.silent
}

func (f *fake) PollFailed(_ context.Context, l mailbox.Lease, cause error) (time.Duration, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.failed[l.MailboxID] = append(f.failed[l.MailboxID], cause)
	return 42 * time.Second, nil
}

func (f *fake) set(change func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change()
}

// running is a Scheduler that runs until the test stops it.
type running struct {
	*scheduler.Scheduler
	stop, abort context.CancelFunc
	ended       chan struct{}
}

func run(t *testing.T, cfg scheduler.Config, leaser scheduler.Leaser, poll scheduler.Poll) *running {
	t.Helper()
	if cfg.Check == 0 {
		cfg.Check = 20 * time.Millisecond
	}
	stop, stopNow := context.WithCancel(t.Context())
	abort, abortNow := context.WithCancel(t.Context())
	r := &running{scheduler.New(cfg, leaser, poll), stopNow, abortNow, make(chan struct{})}
	go func() {
		defer close(r.ended)
		r.Run(stop, abort)
	}()
	t.Cleanup(func() { stopNow(); abortNow(); r.wait(t) })
	return r
}

func (r *running) wait(t *testing.T) {
	t.Helper()
	receive(t, r.ended, "Run returns")
}

// receive waits for a signal.
func receive[T any](t *testing.T, from <-chan T, what string) T {
	t.Helper()
	select {
	case v := <-from:
		return v
	case <-time.After(patience):
		t.Fatalf("waited %s for: %s", patience, what)
		panic("not reached")
	}
}

// pass lets time pass in a bubble of synctest, until all that falls due by then is done.
func pass(d time.Duration) {
	<-time.After(d)
	synctest.Wait()
}

// until waits until a condition holds, looking often.
func until(t *testing.T, what string, holds func() bool) {
	t.Helper()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(patience)
	for !holds() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("waited %s until: %s", patience, what)
		}
	}
}

func TestNeverMoreThanWorkersNorAllOfThemForOneHost(t *testing.T) {
	t.Cleanup(func() { goleak.VerifyNone(t, pgtest.Goroutines()...) }) // after the scheduler has ended
	hosts := slices.Repeat([]string{"slow"}, 22)
	hosts[20], hosts[21] = "fast", "fast"
	f := newFake(hosts...)
	started, gate := make(chan mailbox.Lease, 30), make(chan struct{})
	r := run(t, scheduler.Config{Workers: 4, PerHost: 99}, f, func(_ context.Context, l mailbox.Lease) (time.Duration, error) {
		started <- l
		if l.Host == "slow" {
			<-gate
		}
		return time.Hour, nil
	})
	// Three slow ones hang; the fast ones pass by on the fourth worker.
	n := map[string]int{}
	for range 5 {
		n[receive(t, started, "polls start").Host]++
	}
	if n["slow"] != 3 || n["fast"] != 2 {
		t.Errorf("got %v, want 3 slow and 2 fast polls", n)
	}
	close(gate)
	for range 17 {
		receive(t, started, "the rest starts")
	}
	until(t, "all are done", func() bool { return r.Stats().Polls == 22 })
	r.stop()
	r.wait(t)
	if f.most > 4 {
		t.Errorf("held %d mailboxes at once, want at most 4", f.most)
	}
	for _, n := range f.asked {
		if n < 1 || n > 4 {
			t.Errorf("asked for %d mailboxes, want 1 to 4", n)
		}
	}
	if len(f.held) != 0 {
		t.Errorf("still held: %v", f.held)
	}
}

func TestOutcomesOfPolls(t *testing.T) {
	t.Cleanup(func() { goleak.VerifyNone(t, pgtest.Goroutines()...) }) // after the scheduler has ended
	f := newFake("a", "b", "c", "d", "e", "f")
	f.due[4].PollTimeout = 10 * time.Millisecond
	f.lost[6] = true
	var log bytes.Buffer
	r := run(t, scheduler.Config{Workers: 8, Log: slog.New(slog.NewTextHandler(&log, nil))}, f,
		func(ctx context.Context, l mailbox.Lease) (time.Duration, error) {
			switch l.MailboxID {
			case 1:
				return time.Minute, nil
			case 2:
				return 0, fault.New(fault.Auth, "login_refused", "mend it", errors.New("no"))
			case 3:
				return 7 * time.Minute, errors.New("noted by the poll itself")
			case 4:
				panic("secret body")
			case 5:
				<-ctx.Done()
				return 0, ctx.Err()
			}
			return time.Minute, nil
		})
	until(t, "all have ended", func() bool { return r.Stats().Polls == 6 })
	r.stop()
	r.wait(t)
	for id, want := range map[int64]time.Duration{1: time.Minute, 2: 42 * time.Second, 3: 7 * time.Minute, 4: 42 * time.Second, 5: 42 * time.Second} {
		if got := f.released[id]; len(got) != 1 || got[0] != want {
			t.Errorf("mailbox %d: released with %v, want once with %s", id, got, want)
		}
	}
	for id, want := range map[int64]string{2: "login_refused", 4: "poll_panicked", 5: "poll_timeout"} {
		if len(f.failed[id]) != 1 {
			t.Errorf("mailbox %d: noted failures %v, want one", id, f.failed[id])
		} else if _, code, _, _ := fault.Describe(f.failed[id][0]); code != want {
			t.Errorf("mailbox %d: noted code %s, want %s", id, code, want)
		}
	}
	if len(f.failed) != 3 {
		t.Errorf("noted failures of %d mailboxes, want 3: %v", len(f.failed), f.failed)
	}
	want := scheduler.Stats{Polls: 6, Failures: 4, Panics: 1, Lost: 1}
	got := r.Stats()
	got.Heartbeat = 0
	if got != want {
		t.Errorf("stats: got %+v, want %+v", got, want)
	}
	if s := log.String(); strings.Contains(s, "secret body") || !strings.Contains(s, "scheduler_test.go") {
		t.Errorf("the log repeats what the poll panicked with, or lacks the stack:\n%s", s)
	}
}

func TestStopDrainsAndAbortCancels(t *testing.T) { synctest.Test(t, stopDrainsAndAbortCancels) }

func stopDrainsAndAbortCancels(t *testing.T) {
	t.Helper()
	for _, way := range []string{"drain", "abort", "grace"} {
		f := newFake("a")
		started, gate := make(chan struct{}), make(chan struct{})
		cfg := scheduler.Config{Drain: time.Hour}
		if way == "grace" {
			cfg.Drain = 10 * time.Millisecond
		}
		r := run(t, cfg, f, func(ctx context.Context, _ mailbox.Lease) (time.Duration, error) {
			close(started)
			select {
			case <-gate:
				return time.Minute, nil
			case <-ctx.Done():
				return 0, fmt.Errorf("fetch: %w", ctx.Err())
			}
		})
		receive(t, started, "the poll starts")
		if way != "abort" {
			r.stop()
		}
		switch way {
		case "drain":
			f.set(func() { f.due = append(f.due, mailbox.Lease{MailboxID: 9, Host: "b"}) })
			pass(time.Minute / 2) // less than the time-out of the poll
			select {
			case <-r.ended:
				t.Error("Run returned while a poll went on")
			default:
			}
			close(gate)
		case "abort":
			r.abort()
		}
		r.wait(t)
		want := map[string]time.Duration{"drain": time.Minute, "abort": 0, "grace": 0}[way]
		if got := f.released[1]; len(got) != 1 || got[0] != want {
			t.Errorf("%s: released with %v, want once with %s", way, got, want)
		}
		if len(f.failed) != 0 || r.Stats().Failures != 0 {
			t.Errorf("%s: being stopped counted as a failure: %v", way, f.failed)
		}
		if len(f.due) > 0 && way == "drain" != (f.due[0].MailboxID == 9) {
			t.Errorf("%s: left due %v", way, f.due)
		}
	}
}

func TestSilentDaemonCancelsItsPolls(t *testing.T) { synctest.Test(t, silentDaemonCancelsItsPolls) }

func silentDaemonCancelsItsPolls(t *testing.T) {
	t.Helper()
	f := newFake("a")
	started, cancelled := make(chan struct{}, 9), make(chan error, 9)
	r := run(t, scheduler.Config{StaleAfter: 200 * time.Millisecond, HeartbeatEvery: 10 * time.Millisecond}, f,
		func(ctx context.Context, _ mailbox.Lease) (time.Duration, error) {
			started <- struct{}{}
			<-ctx.Done()
			cancelled <- context.Cause(ctx)
			return 0, ctx.Err()
		})
	receive(t, started, "the poll starts")
	f.set(func() { f.silent = errors.New("database gone") })
	if cause := receive(t, cancelled, "the poll is cancelled"); cause == nil || !strings.Contains(cause.Error(), "heartbeat") {
		t.Errorf("cancelled because of %v, want the heartbeat", cause)
	}
	until(t, "it is released", func() bool { return r.Stats().Running == 0 })
	var claims int
	f.set(func() {
		claims = f.claims
		f.due = append(f.due, mailbox.Lease{MailboxID: 2, Host: "b"})
	})
	pass(time.Minute)
	select {
	case <-started:
		t.Error("a poll was started without a heartbeat")
	default:
	}
	f.set(func() {
		if f.claims != claims {
			t.Errorf("claimed %d times without a heartbeat", f.claims-claims)
		}
		f.silent = nil
	})
	receive(t, started, "polls go on after the heartbeat came back")
	if r.Stats().Failures != 0 {
		t.Error("a poll that we cancelled counted as a failure of the mailbox")
	}
}

func TestNothingIsClaimedBeforeTheFirstHeartbeat(t *testing.T) {
	synctest.Test(t, nothingIsClaimedBeforeTheFirstHeartbeat)
}

func nothingIsClaimedBeforeTheFirstHeartbeat(t *testing.T) {
	t.Helper()
	f := newFake("a")
	f.silent = errors.New("not yet")
	r := run(t, scheduler.Config{}, f, func(context.Context, mailbox.Lease) (time.Duration, error) { return time.Hour, nil })
	pass(time.Minute)
	f.set(func() {
		if f.claims != 0 {
			t.Errorf("claimed %d times, want 0", f.claims)
		}
		f.silent = nil
	})
	until(t, "it is polled", func() bool { return r.Stats().Polls == 1 })
}

func TestIdleSchedulerRests(t *testing.T) { synctest.Test(t, idleSchedulerRests) }

func idleSchedulerRests(t *testing.T) {
	t.Helper()
	f := newFake()
	wake := make(chan struct{})
	r := run(t, scheduler.Config{Check: time.Hour, Wake: wake}, f,
		func(context.Context, mailbox.Lease) (time.Duration, error) { return time.Hour, nil })
	until(t, "it has looked once", func() bool { f.mu.Lock(); defer f.mu.Unlock(); return f.claims > 0 })
	pass(time.Hour / 2)
	f.set(func() {
		if f.claims > 2 {
			t.Errorf("looked %d times within half of the time between two looks with nothing to do, want 1 or 2", f.claims)
		}
		f.due = append(f.due, mailbox.Lease{MailboxID: 7, Host: "a"})
	})
	select {
	case wake <- struct{}{}:
	case <-time.After(patience):
		t.Fatal("the hint was not taken")
	}
	until(t, "the hint woke it", func() bool { return r.Stats().Polls == 1 })
}

func TestFailingClaimsAreSpacedAndLoggedOnce(t *testing.T) {
	synctest.Test(t, failingClaimsAreSpacedAndLoggedOnce)
}

func failingClaimsAreSpacedAndLoggedOnce(t *testing.T) {
	t.Helper()
	f := newFake("a")
	f.claimErr = errors.New("database gone")
	var log bytes.Buffer
	r := run(t, scheduler.Config{Check: time.Millisecond, Log: slog.New(slog.NewTextHandler(&log, nil))}, f,
		func(context.Context, mailbox.Lease) (time.Duration, error) { return time.Hour, nil })
	until(t, "it has failed once", func() bool { f.mu.Lock(); defer f.mu.Unlock(); return f.claims > 0 })
	pass(time.Minute)
	f.set(func() {
		if f.claims < 5 || f.claims > 9 {
			t.Errorf("tried %d times within a minute, want 5 to 9", f.claims)
		}
		f.claimErr = nil
	})
	until(t, "it goes on", func() bool { return r.Stats().Polls == 1 })
	r.stop()
	r.wait(t)
	if n := strings.Count(log.String(), "mailboxes cannot be claimed"); n != 1 {
		t.Errorf("logged %d times, want once:\n%s", n, log.String())
	}
}

// While the heartbeat is stale nothing is asked, which says nothing about whether mailboxes could be claimed.
func TestAnOutageIsNotSaidToBeOverTooEarly(t *testing.T) {
	synctest.Test(t, anOutageIsNotSaidToBeOverTooEarly)
}

func anOutageIsNotSaidToBeOverTooEarly(t *testing.T) {
	t.Helper()
	f := newFake("a")
	f.claimErr = errors.New("database gone")
	var log bytes.Buffer
	r := run(t, scheduler.Config{Log: slog.New(slog.NewTextHandler(&log, nil))}, f,
		func(context.Context, mailbox.Lease) (time.Duration, error) { return time.Hour, nil })
	until(t, "it has failed once", func() bool { f.mu.Lock(); defer f.mu.Unlock(); return f.claims > 0 })
	f.set(func() { f.silent = errors.New("database gone") })
	pass(10 * time.Minute)
	const over = "mailboxes can be claimed again"
	if strings.Contains(log.String(), over) {
		t.Errorf("in the middle of an outage:\n%s", log.String())
	}
	f.set(func() { f.silent, f.claimErr = nil, nil })
	until(t, "it goes on", func() bool { return r.Stats().Polls == 1 })
	r.stop()
	r.wait(t)
	if n := strings.Count(log.String(), over); n != 1 || strings.Count(log.String(), "mailboxes cannot be claimed") != 1 {
		t.Errorf("the end of it was told %d times, want both once:\n%s", n, log.String())
	}
}

func TestStartAndStopUnderStress(t *testing.T) {
	t.Cleanup(func() { goleak.VerifyNone(t, pgtest.Goroutines()...) }) // after the scheduler has ended
	for round := range 50 {
		hosts := make([]string, 30)
		for i := range hosts {
			hosts[i] = fmt.Sprint("h", i%5)
		}
		f := newFake(hosts...)
		r := run(t, scheduler.Config{Workers: 3 + round%5, Drain: time.Millisecond, Check: time.Millisecond}, f,
			func(ctx context.Context, l mailbox.Lease) (time.Duration, error) {
				if l.MailboxID%3 == 0 {
					<-ctx.Done()
					return 0, ctx.Err()
				}
				return time.Hour, nil
			})
		if round%2 == 0 {
			until(t, "something runs", func() bool { return r.Stats().Running+r.Stats().Polls > 0 })
		}
		if round%3 == 0 {
			r.abort()
		}
		r.stop()
		r.wait(t)
		released := 0
		for _, times := range f.released {
			released += len(times)
		}
		if len(f.held) != 0 || released+len(f.due) != len(hosts) {
			t.Fatalf("round %d: %d held, %d released, %d due of %d", round, len(f.held), released, len(f.due), len(hosts))
		}
	}
}
