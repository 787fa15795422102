package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"

	"github.com/postroom/postroom/internal/fault"
	"github.com/postroom/postroom/internal/mailbox"
	"github.com/postroom/postroom/internal/poller"
	"github.com/postroom/postroom/internal/raw"
	"github.com/postroom/postroom/internal/scheduler"
	"github.com/postroom/postroom/internal/store"
)

// records is the mailbox records as they were last read: who receives mail, and what is polled.
type records struct {
	db      *store.DB
	log     *slog.Logger
	changed chan struct{}
	mu      sync.Mutex // one load at a time
	current atomic.Pointer[snapshot]
	count   atomic.Int64
}

// refreshEvery is how often the records are read where no hint was heard.
const refreshEvery = 30 * time.Second

func newRecords(db *store.DB, log *slog.Logger) *records {
	return &records{db: db, log: log, changed: make(chan struct{}, 1)}
}

// load reads the records.
func (r *records) load(ctx context.Context) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	read, err := r.db.Records(ctx)
	if err != nil {
		return err
	}
	boxes := read.Mailboxes
	polled := int64(0)
	for _, m := range boxes {
		if m.Enabled && m.Incoming == mailbox.ServerSide {
			polled++
			if m.Kind == mailbox.Forward && m.Trust == mailbox.Off && r.current.Load() == nil {
				r.log.WarnContext(ctx, "trust is off: whoever can send mail to this forward mailbox can make records",
					"mailbox_id", m.ID, "mailbox", m.Name)
			}
		}
	}
	r.current.Store(&snapshot{version: read.Version, registry: mailbox.NewRegistry(boxes)})
	r.count.Store(polled)
	return nil
}

// snapshot is the records as of one version.
type snapshot struct {
	version  int64
	registry *mailbox.Registry
}

// fresh returns the records as they are now: a lease says who polls a mailbox, not with which password or policy.
func (r *records) fresh(ctx context.Context) (*mailbox.Registry, error) {
	version, err := r.db.RecordsVersion(ctx)
	if err != nil {
		return nil, err
	}
	if had := r.current.Load(); had.version == version {
		return had.registry, nil
	}
	if err := r.load(ctx); err != nil {
		return nil, err
	}
	return r.current.Load().registry, nil
}

func (r *records) polled() int64 { return r.count.Load() }

// hint has the records read again soon.
func (r *records) hint() { signal(r.changed) }

// refresh reads the records on every hint, on reload, and every refreshEvery, until ctx ends.
func (r *records) refresh(ctx context.Context, reload <-chan struct{}) {
	ticker := time.NewTicker(refreshEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		case <-r.changed:
		case <-reload:
			r.log.InfoContext(ctx, "records are read again")
		}
		if err := r.load(ctx); err != nil && ctx.Err() == nil {
			r.log.WarnContext(ctx, "records could not be read again: the last ones stay", "error", err)
		}
	}
}

func signal(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default: // one is waiting already
	}
}

// onePoll polls one mailbox for the scheduler.
type onePoll struct {
	db      *store.DB
	records *records
	poller  *poller.Poller
	log     *slog.Logger
}

func (o *onePoll) run(ctx context.Context, l mailbox.Lease) (time.Duration, error) {
	registry, err := o.records.fresh(ctx)
	if err != nil {
		return 0, err
	}
	m := registry.ByID(l.MailboxID)
	if m == nil || !m.Enabled || m.Profile == nil { // changed since it was claimed
		return 0, fault.New(fault.Stopping, "not_polled", "", fmt.Errorf("mailbox %d is not polled any more", l.MailboxID))
	}
	start := time.Now()
	out, err := o.poller.Poll(ctx, l, m, registry)
	level := slog.LevelDebug
	if out.Listed > 0 || out.Disposed > 0 {
		level = slog.LevelInfo
	}
	attrs := []any{"mailbox_id", m.ID, "listed", out.Listed, "disposed", out.Disposed, "duration_ms", time.Since(start).Milliseconds()}
	for outcome, n := range out.Results {
		attrs = append(attrs, string(outcome), n)
	}
	o.log.Log(ctx, level, "polled", attrs...)
	switch {
	case err == nil:
	case out.Partial && ctx.Err() == nil: // what can be read is read as often as ever
		if _, noted := o.db.PollFailed(ctx, l, err); noted != nil {
			return 0, errors.Join(err, noted)
		}
		return m.PollInterval, err
	default:
		return 0, err // the scheduler logs it and has it noted
	}
	next, err := o.db.PollSucceeded(ctx, l)
	if err == nil && out.More {
		return 0, nil
	}
	return next, err
}

// listen turns the database's hints into wake-ups.
func listen(ctx context.Context, db *store.DB, log *slog.Logger, r *records, wake chan<- struct{}) {
	db.Listen(ctx, log, func(channel string) {
		if channel != store.ChannelPollNow {
			r.hint()
		}
		signal(wake)
	}, store.ChannelPollNow, store.ChannelMailboxChanged)
}

// maintainEvery is how often leftovers are collected and coming months' partitions made.
const maintainEvery = time.Hour

// maintain makes coming months' partitions and collects octets that nothing refers to, until ctx ends.
func maintain(ctx context.Context, db *store.DB, raws *raw.Store, log *slog.Logger) {
	ticker := time.NewTicker(maintainEvery)
	defer ticker.Stop()
	for {
		collected, err := raws.Sweep(ctx)
		err = errors.Join(err, db.EnsurePartitions(ctx))
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			log.WarnContext(ctx, "maintenance failed: it is tried again in an hour", "error", err)
		case collected > 0:
			log.InfoContext(ctx, "octets that nothing refers to were removed", "messages", collected)
		}
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

// notifySystemd tells systemd our state, where it asked for it (Type=notify).
func notifySystemd(log *slog.Logger, state string) {
	if _, err := daemon.SdNotify(false, state); err != nil {
		log.Warn("systemd could not be told", "state", state, "error", err)
	}
}

// watchdog tells systemd that we live for as long as the scheduler's loop goes round (WatchdogSec).
func watchdog(ctx context.Context, log *slog.Logger, s *scheduler.Scheduler) {
	every, err := daemon.SdWatchdogEnabled(false)
	if err != nil {
		log.WarnContext(ctx, "systemd's watchdog settings cannot be read", "error", err)
	}
	if every == 0 {
		return
	}
	ticker := time.NewTicker(every / 3)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			if s.Alive() == nil {
				notifySystemd(log, daemon.SdNotifyWatchdog)
			}
		}
	}
}
