// Package scheduler decides when mailboxes are polled: it claims the ones that are due, by lease, and runs their polls
// on a bounded number of workers. It knows neither mail nor SQL.
//
// Invariants: never more mailboxes are claimed than there are free workers; one host never takes all workers; every
// claimed mailbox is released by us, or its lease was lost; a poll that fails, hangs or panics costs its own mailbox
// only; a daemon that others may think dead has no polls running; Run returns only when everything it started has ended.
package scheduler

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"github.com/postroom/postroom/internal/fault"
	"github.com/postroom/postroom/internal/mailbox"
)

// Leaser is the deployment's list of mailboxes, of which every daemon claims a share.
type Leaser interface {
	// Claim takes up to n due mailboxes, at most perHost of one host being held at once, and tells when the next one
	// falls due if it found fewer.
	Claim(ctx context.Context, n, perHost int) (leases []mailbox.Lease, next time.Duration, err error)
	// Release gives a mailbox back, due again after next. After an error it is not held either, and may be claimed anew.
	Release(ctx context.Context, l mailbox.Lease, next time.Duration) error
	// Heartbeat tells the others that we live.
	Heartbeat(ctx context.Context) error
	// PollFailed notes why a poll failed and returns when to try again.
	PollFailed(ctx context.Context, l mailbox.Lease, cause error) (next time.Duration, err error)
}

// Poll polls one mailbox and returns when it is to be polled again. On an error with next 0 the scheduler has the failure
// noted and asks Leaser for the time; with next above 0 Poll has done so itself.
type Poll func(ctx context.Context, l mailbox.Lease) (next time.Duration, err error)

// Config says how much is done at once and how often. Zero values take the default.
type Config struct {
	Workers        int             // polls at once; default 8
	PerHost        int             // of one host; default 4, always below Workers unless that is 1
	Check          time.Duration   // longest wait between two looks for due mailboxes; default 1 s
	HeartbeatEvery time.Duration   // default 5 s, at most a quarter of StaleAfter
	StaleAfter     time.Duration   // without a heartbeat for so long others take our mailboxes; default 30 s
	Drain          time.Duration   // how long polls may go on after stop; default 30 s
	Wake           <-chan struct{} // a hint that something is due; may be nil
	Log            *slog.Logger
}

const (
	leaserTimeout = 10 * time.Second       // of one call of Leaser
	claimGap      = 10 * time.Millisecond  // between two claims, so that many short polls share one
	errorGap      = 500 * time.Millisecond // after a claim that failed, doubled up to errorGapMax
	errorGapMax   = 15 * time.Second
	retryUnnoted  = time.Minute // when a failure could not be noted
	pollTimeout   = 15 * time.Minute
)

// Scheduler runs polls. Make it with New; Run it once.
type Scheduler struct {
	cfg     Config
	leaser  Leaser
	poll    Poll
	pulse   *pulse
	done    chan struct{} // holds a token when a poll has ended since the last look
	stats   counters
	turned  atomic.Int64 // when the loop last went round, in nanoseconds since started; -1: it does not run
	started time.Time
}

type counters struct {
	running, polls, failures, panics, lost atomic.Int64
}

// Stats is what a Scheduler has done since it was made.
type Stats struct {
	Running   int64         // polls going on
	Polls     int64         // ended
	Failures  int64         // of these failed, panics included
	Panics    int64         // of these panicked
	Lost      int64         // leases that another daemon had taken
	Heartbeat time.Duration // since the last heartbeat that was written
}

// New returns a Scheduler that has poll run on what leaser hands out.
func New(cfg Config, leaser Leaser, poll Poll) *Scheduler {
	setDefault(&cfg.Workers, 8)
	setDefault(&cfg.PerHost, 4)
	setDefault(&cfg.Check, time.Second)
	setDefault(&cfg.HeartbeatEvery, 5*time.Second)
	setDefault(&cfg.StaleAfter, 30*time.Second)
	setDefault(&cfg.Drain, 30*time.Second)
	cfg.PerHost = max(1, min(cfg.PerHost, cfg.Workers-1))
	cfg.HeartbeatEvery = min(cfg.HeartbeatEvery, cfg.StaleAfter/4)
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	return &Scheduler{
		cfg: cfg, leaser: leaser, poll: poll,
		pulse:   newPulse(cfg, leaser),
		done:    make(chan struct{}, 1),
		started: time.Now(),
	}
}

// stuckAfter is how long the loop may take for one round: a look at the database and the longest pause after a failed
// one, with room to spare.
const stuckAfter = 2 * (leaserTimeout + errorGapMax)

// Alive fails when the loop that looks for due mailboxes has not gone round for much longer than it ever should. While
// polls drain after a stop it is alive.
func (s *Scheduler) Alive() error {
	at := s.turned.Load()
	if at < 0 {
		return nil
	}
	if silence := time.Since(s.started) - time.Duration(at); silence > stuckAfter {
		return fault.New(fault.Transient, "scheduler_stuck", "restart the daemon, and report this with its log",
			fmt.Errorf("no look for due mailboxes for %s", silence.Round(time.Second)))
	}
	return nil
}

func setDefault[T int | time.Duration](value *T, to T) {
	if *value <= 0 {
		*value = to
	}
}

// Stats returns what was done so far.
func (s *Scheduler) Stats() Stats {
	return Stats{
		Running: s.stats.running.Load(), Polls: s.stats.polls.Load(), Failures: s.stats.failures.Load(),
		Panics: s.stats.panics.Load(), Lost: s.stats.lost.Load(), Heartbeat: s.pulse.silence(),
	}
}

// Run claims and polls until stop is done. Then it claims nothing more and waits for the polls that go on; after
// Config.Drain, or when abort is done, it cancels them. It returns when all have ended and their mailboxes are released.
// Abort before stop stops, too.
func (s *Scheduler) Run(stop, abort context.Context) {
	// abort's cancellation reaches every poll; stop's none.
	polls, cancel := context.WithCancel(abort)
	defer cancel()
	stop, cancelStop := context.WithCancel(stop)
	defer cancelStop()
	defer context.AfterFunc(abort, cancelStop)()

	var beat, work sync.WaitGroup
	beatCtx, stopBeat := context.WithCancel(context.WithoutCancel(abort))
	beat.Go(func() { s.pulse.run(beatCtx) })

	s.claimUntil(stop, polls, &work)

	drained := time.AfterFunc(s.cfg.Drain, cancel)
	work.Wait() // every poll listens to its context
	drained.Stop()
	stopBeat()
	beat.Wait()
}

// claimUntil looks for due mailboxes and starts their polls until stop is done.
func (s *Scheduler) claimUntil(stop, polls context.Context, work *sync.WaitGroup) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	failing := time.Duration(0)
	defer s.turned.Store(-1)
	for {
		s.turned.Store(int64(time.Since(s.started)))
		select {
		case <-stop.Done():
			return
		case <-timer.C:
		case <-s.cfg.Wake:
		case <-s.done:
		case <-s.pulse.back:
		}
		if stop.Err() != nil {
			return
		}
		next, asked, err := s.claim(stop, polls, work)
		switch {
		case err == nil && !asked: // says nothing about the database
		case err == nil:
			if failing > 0 {
				s.cfg.Log.InfoContext(stop, "mailboxes can be claimed again")
			}
			failing = 0
		case stop.Err() != nil:
			return
		default:
			if failing == 0 {
				class, code, text, hint := fault.Describe(err)
				s.cfg.Log.ErrorContext(stop, "mailboxes cannot be claimed", "err_class", class, "err_code", code, "error", text, "hint", hint)
			}
			failing = min(max(2*failing, errorGap), errorGapMax)
			next = failing
		}
		// Hints and ended polls that come at once share the next look.
		if !pause(stop, max(claimGap, min(failing, next))) {
			return
		}
		timer.Reset(max(0, next-claimGap))
	}
}

// claim takes what is due, as far as workers are free, starts the polls, and returns how long to wait for the next look,
// and whether it asked leaser: not while no worker is free, nor without a heartbeat.
func (s *Scheduler) claim(stop, polls context.Context, work *sync.WaitGroup) (next time.Duration, asked bool, err error) {
	free := s.cfg.Workers - int(s.stats.running.Load())
	if free <= 0 || !s.pulse.alive() {
		return s.cfg.Check, false, nil
	}
	// A claim is not broken off half way when we are told to stop: it might have been made.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(stop), leaserTimeout)
	defer cancel()
	leases, next, err := s.leaser.Claim(ctx, free, s.cfg.PerHost)
	for _, l := range leases {
		s.stats.running.Add(1)
		work.Go(func() { s.run(polls, l) })
	}
	if err != nil {
		return 0, true, err
	}
	// What is due but could not be had (its host is busy, another daemon was faster) is looked for at the next check.
	return min(max(next, claimGap), s.cfg.Check), true, nil
}

// run polls one mailbox and releases it.
func (s *Scheduler) run(polls context.Context, l mailbox.Lease) {
	defer func() {
		s.stats.polls.Add(1)
		s.stats.running.Add(-1)
		select {
		case s.done <- struct{}{}:
		default: // the loop will look anyway
		}
	}()
	deadline := l.PollTimeout
	setDefault(&deadline, pollTimeout)
	ctx, cancel := context.WithCancelCause(polls)
	defer cancel(nil)
	defer s.pulse.hold(cancel)()
	ctx, cancelTimeout := context.WithTimeout(ctx, deadline)
	defer cancelTimeout()
	next, err := s.guarded(ctx, l)
	s.finish(context.WithoutCancel(polls), l, next, because(ctx, err))
}

// guarded runs the poll and turns a panic into an error.
func (s *Scheduler) guarded(ctx context.Context, l mailbox.Lease) (next time.Duration, err error) {
	defer func() {
		p := recover()
		if p == nil {
			return
		}
		s.stats.panics.Add(1)
		s.cfg.Log.ErrorContext(ctx, "poll panicked", "mailbox_id", l.MailboxID, "host", l.Host,
			"panic", panicText(p), "stack", string(debug.Stack()))
		next, err = 0, fault.New(fault.Transient, "poll_panicked",
			"this is a fault of Postroom: please report it with the stack from the log", errPanicked)
	}()
	return s.poll(ctx, l)
}

// panicText says what the poll panicked with, where that cannot hold a message's text.
func panicText(p any) string {
	if err, ok := p.(runtime.Error); ok {
		return err.Error()
	}
	return fmt.Sprintf("a value of type %T", p)
}

// errPanicked stands for what a poll panicked with: that may hold a message's text, so that it is not repeated.
var errPanicked = errors.New("the poll ended in a panic")

// because turns an error that came of a poll's end from outside into its reason.
func because(ctx context.Context, err error) error {
	switch {
	case err == nil || errors.Is(err, mailbox.ErrLeaseLost) || errors.Is(err, errPanicked):
		return err
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		return fault.New(fault.Transient, "poll_timeout",
			"the next poll goes on where this one ended; if it repeats, raise the profile's poll_timeout or look at the server",
			fmt.Errorf("the poll did not end in time: %w", err))
	case ctx.Err() != nil:
		return fault.New(fault.Stopping, "poll_cancelled", "", err)
	}
	return err
}

// finish notes a failure and releases the mailbox. ctx is not the poll's: that has ended.
func (s *Scheduler) finish(ctx context.Context, l mailbox.Lease, next time.Duration, err error) {
	ctx, cancel := context.WithTimeout(ctx, 2*leaserTimeout)
	defer cancel()
	log := s.cfg.Log.With("mailbox_id", l.MailboxID, "host", l.Host)
	switch {
	case errors.Is(err, mailbox.ErrLeaseLost):
		s.stats.lost.Add(1)
		log.WarnContext(ctx, "mailbox was taken over by another daemon")
		return
	case err == nil:
	case fault.ClassOf(err) == fault.Stopping:
		log.DebugContext(ctx, "poll was cancelled")
		next = 0
	default:
		s.stats.failures.Add(1)
		class, code, text, hint := fault.Describe(err)
		if next <= 0 {
			next = s.noteFailure(ctx, l, err, log)
		}
		log.WarnContext(ctx, "poll failed", "err_class", class, "err_code", code, "error", text, "hint", hint, "next_in", next)
	}
	if rerr := s.leaser.Release(ctx, l, next); errors.Is(rerr, mailbox.ErrLeaseLost) {
		s.stats.lost.Add(1)
		log.WarnContext(ctx, "mailbox was taken over by another daemon")
	} else if rerr != nil {
		// Leaser no longer counts it as held, so that the next claim finds it.
		log.ErrorContext(ctx, "mailbox cannot be released", "error", rerr.Error())
	}
}

// noteFailure has a failure written and returns when to try again.
func (s *Scheduler) noteFailure(ctx context.Context, l mailbox.Lease, cause error, log *slog.Logger) time.Duration {
	next, err := s.leaser.PollFailed(ctx, l, cause)
	if err != nil {
		log.ErrorContext(ctx, "failed poll cannot be noted", "error", err.Error())
		return retryUnnoted
	}
	return next
}

// pause waits for d, and reports whether ctx let it.
func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}
