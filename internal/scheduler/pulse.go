package scheduler

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/postroom/postroom/internal/fault"
)

// errSilent is the cause with which polls are cancelled when the heartbeat could not be written.
var errSilent = errors.New("no heartbeat could be written")

// pulse writes heartbeats. When none could be written for half the time after which others take our mailboxes, it
// cancels all polls: the other half is for them to end.
type pulse struct {
	leaser Leaser
	every  time.Duration
	limit  time.Duration // of silence
	log    *slog.Logger
	back   chan struct{} // holds a token when a heartbeat was written after a silence

	mu      sync.Mutex
	beating bool
	last    time.Time // when the last heartbeat that was written was sent
	held    map[*context.CancelCauseFunc]struct{}
	alarm   *time.Timer // rings when the silence has reached limit
}

func newPulse(cfg Config, leaser Leaser) *pulse {
	return &pulse{
		leaser: leaser, every: cfg.HeartbeatEvery, limit: cfg.StaleAfter / 2, log: cfg.Log,
		back: make(chan struct{}, 1), last: time.Now(), held: map[*context.CancelCauseFunc]struct{}{},
	}
}

// run writes heartbeats until ctx is done.
func (p *pulse) run(ctx context.Context) {
	defer p.stop()
	for {
		wait := p.every
		if !p.beat(ctx) {
			wait = max(p.every/4, claimGap)
		}
		if !pause(ctx, wait) {
			return
		}
	}
}

// beat writes one heartbeat.
func (p *pulse) beat(ctx context.Context) bool {
	sent := time.Now()
	call, cancel := context.WithTimeout(ctx, min(p.limit, leaserTimeout))
	defer cancel()
	err := p.leaser.Heartbeat(call)
	if err != nil {
		if ctx.Err() == nil {
			class, code, text, hint := fault.Describe(err)
			p.log.WarnContext(ctx, "heartbeat failed", "err_class", class, "err_code", code, "error", text, "hint", hint)
		}
		return false
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.last = sent
	if !p.beating {
		p.beating = true
		select {
		case p.back <- struct{}{}:
		default: // the loop has not yet seen the one before
		}
	}
	left := p.limit - time.Since(sent)
	if p.alarm == nil {
		p.alarm = time.AfterFunc(left, p.giveUp)
	} else {
		p.alarm.Reset(left)
	}
	return true
}

// giveUp cancels all polls, unless a heartbeat came after all.
func (p *pulse) giveUp() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.beating || time.Since(p.last) < p.limit {
		return
	}
	p.beating = false
	p.log.Error("no heartbeat could be written: polls are cancelled, others may take the mailboxes",
		"silence", p.limit, "polls", len(p.held))
	for cancel := range p.held {
		(*cancel)(errSilent)
	}
}

func (p *pulse) stop() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.beating = false
	if p.alarm != nil {
		p.alarm.Stop()
	}
}

// alive reports whether others must believe that we live.
func (p *pulse) alive() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.beating
}

// silence returns how long ago the last heartbeat that was written was sent.
func (p *pulse) silence() time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	return time.Since(p.last)
}

// hold has cancel called when the heart stops, at once if it has stopped already. The function it returns ends that.
func (p *pulse) hold(cancel context.CancelCauseFunc) (drop func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.beating {
		cancel(errSilent)
	}
	p.held[&cancel] = struct{}{}
	return func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		delete(p.held, &cancel)
	}
}
