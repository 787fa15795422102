package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"

	"golang.org/x/sync/semaphore"

	"github.com/postroom/postroom/internal/admin"
	"github.com/postroom/postroom/internal/config"
	"github.com/postroom/postroom/internal/dial"
	"github.com/postroom/postroom/internal/fault"
	"github.com/postroom/postroom/internal/imap"
	"github.com/postroom/postroom/internal/mailbox"
	"github.com/postroom/postroom/internal/pgserver"
	"github.com/postroom/postroom/internal/pipeline"
	"github.com/postroom/postroom/internal/poller"
	"github.com/postroom/postroom/internal/pop3"
	"github.com/postroom/postroom/internal/raw"
	"github.com/postroom/postroom/internal/scheduler"
	"github.com/postroom/postroom/internal/secret"
	"github.com/postroom/postroom/internal/store"
)

// process is what the daemon has from the process that it runs in.
type process struct {
	log    *slog.Logger
	audit  *slog.Logger                            // one line for each message's outcome
	reload <-chan struct{}                         // SIGHUP
	ready  func(ctx context.Context, db *store.DB) // everything is up; may be nil
}

// serve is the daemon: it opens the database, works on it until ctx ends, and closes it. A PostgreSQL of our own that ends
// by itself ends the daemon, too, with postgres_died.
func serve(ctx context.Context, cfg *config.Config, p process) error {
	ctx, end := context.WithCancelCause(ctx)
	defer end(nil)
	db, closeDB, err := openDatabase(ctx, cfg, p.log, end)
	if err != nil {
		return err
	}
	err = serveOn(ctx, db, cfg, p)
	if died := postgresDied(ctx); died != nil {
		err = died // whatever else failed, failed for this
	}
	return errors.Join(err, closeDB())
}

// postgresDied returns why ctx ended, if that is the death of our own PostgreSQL.
func postgresDied(ctx context.Context) error {
	if f, ok := errors.AsType[*fault.Error](context.Cause(ctx)); ok {
		return f
	}
	return nil
}

// serveOn wires everything above the database, runs until ctx ends, and takes everything down again in the opposite
// order.
func serveOn(ctx context.Context, db *store.DB, cfg *config.Config, p process) (err error) {
	if err := prepareSchema(ctx, db, cfg, p.log); err != nil {
		return err
	}
	keep, err := keepCopies(ctx, db, p.log)
	if err != nil {
		return err
	}

	host, err := os.Hostname()
	if err != nil {
		return fmt.Errorf("name this daemon: %w", err)
	}
	self, err := db.Register(ctx, host, os.Getpid(), version, cfg.Scheduler.StaleAfter)
	if err != nil {
		return err
	}
	defer func() {
		out, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
		defer cancel()
		err = errors.Join(err, self.Deregister(out))
	}()

	raws := raw.New(db.Pool())
	records := newRecords(db, p.log)
	if err := records.load(ctx); err != nil {
		return err
	}
	parties, err := db.PartyDirectory(cfg.Parties.View, cfg.Parties.Timeout)
	if err != nil {
		return err
	}
	lines := pipeline.New(pipeline.Options{
		Writer:   db.Writer(raws),
		Loader:   raws,
		Resolver: parties,
		Log:      p.log,
		Audit:    p.audit,
		Tries:    cfg.Limits.Tries,
		SpoolDir: cfg.SpoolDir,
		Isolates: store.IsolatesBadRow,
	})
	dialer := new(dial.Dialer)
	polls := poller.New(poller.Options{
		Openers: map[mailbox.Protocol]poller.Opener{
			mailbox.IMAP: imapOpener{&imap.Opener{SpoolDir: cfg.SpoolDir, Dialer: dialer}},
			mailbox.POP3: pop3Opener{&pop3.Opener{SpoolDir: cfg.SpoolDir, Dialer: dialer}},
		},
		Ledger: db, Octets: raws, Disposer: db, Pipeline: lines,
		Log:      p.log,
		Secret:   func(ref string) (string, error) { return secret.Resolve(ref, cfg.CredentialsDir()) },
		InFlight: semaphore.NewWeighted(int64(cfg.Limits.OctetsInFlight)), MaxInFlight: int64(cfg.Limits.OctetsInFlight),
		BatchSize: cfg.Limits.BatchMessages, BatchOctets: int64(cfg.Limits.BatchOctets),
		KeepCopies: keep, SpoolDir: cfg.SpoolDir,
	})

	wake := make(chan struct{}, 1)
	schedule := scheduler.New(scheduler.Config{
		Workers: cfg.Scheduler.Workers, PerHost: cfg.Scheduler.PerHost, HeartbeatEvery: cfg.Scheduler.Heartbeat,
		StaleAfter: cfg.Scheduler.StaleAfter, Drain: cfg.Scheduler.Drain, Wake: wake, Log: p.log,
	}, self, (&onePoll{db: db, records: records, poller: polls, log: p.log}).run)

	// Polls may finish when we are stopped, but not without their database.
	abort, abortPolls := context.WithCancel(context.WithoutCancel(ctx))
	defer abortPolls()
	defer context.AfterFunc(ctx, func() {
		if postgresDied(ctx) != nil {
			abortPolls()
		}
	})()

	// What runs beside the scheduler ends after it: polls that drain still need the database and their health shown.
	background, stop := context.WithCancel(context.WithoutCancel(ctx))
	var beside sync.WaitGroup
	defer func() { stop(); beside.Wait() }()
	if err := serveHealth(background, &beside, cfg, p.log, db, schedule); err != nil {
		return err
	}
	beside.Go(func() { listen(background, db, p.log, records, wake) })
	beside.Go(func() { records.refresh(background, p.reload) })
	beside.Go(func() { maintain(background, db, raws, p.log) })
	beside.Go(func() { watchdog(background, p.log, schedule) })

	p.log.InfoContext(ctx, "postroom is running", "version", version, "daemon_id", self.ID(), "mailboxes", records.polled())
	notifySystemd(p.log, "READY=1")
	if p.ready != nil {
		p.ready(ctx, db)
	}
	schedule.Run(ctx, abort)
	notifySystemd(p.log, "STOPPING=1")
	p.log.InfoContext(ctx, "postroom has stopped", "polls", schedule.Stats().Polls)
	return nil
}

// openDatabase opens the configured database, or starts a PostgreSQL in the data folder where none is configured. end is
// called with a *fault.Error if that one ends before it is closed here.
func openDatabase(ctx context.Context, cfg *config.Config, log *slog.Logger, end context.CancelCauseFunc) (*store.DB, func() error, error) {
	stop := func() error { return nil }
	url, err := cfg.DatabaseURL()
	if err != nil {
		return nil, nil, err
	}
	if cfg.Database.URL == "" {
		server, err := pgserver.Start(ctx, pgserver.Options{Dir: cfg.DatabaseDir(), Durable: true, Wait: pgserver.DefaultWait})
		if err != nil {
			return nil, nil, err
		}
		log.InfoContext(ctx, "PostgreSQL of our own is running", "dir", cfg.DatabaseDir())
		url = server.URL()
		unwatch := watchPostgres(server, end)
		stop = func() error {
			unwatch()
			out, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
			defer cancel()
			return server.Stop(out)
		}
	}
	db, err := store.Open(ctx, store.Options{
		URL: url, Schema: cfg.Database.Schema, Durability: string(cfg.Database.Durability), MaxConns: cfg.Database.MaxConnections,
	})
	if err != nil {
		return nil, nil, errors.Join(err, stop())
	}
	return db, func() error { db.Close(); return stop() }, nil
}

// watchPostgres calls end when the server ends by itself. What it returns must be called before the server is stopped.
func watchPostgres(server *pgserver.Server, end context.CancelCauseFunc) (unwatch func()) {
	stopping := make(chan struct{})
	var watch sync.WaitGroup
	watch.Go(func() {
		select {
		case <-server.Exited():
			end(fault.New(fault.Transient, "postgres_died",
				"systemd starts the daemon again, and PostgreSQL recovers by itself; started by hand, start it again. If it repeats, look for lack of memory or disk.",
				fmt.Errorf("the PostgreSQL of our own has ended by itself; its last lines: %s", server.LogTail())))
		case <-stopping:
		}
	})
	return func() { close(stopping); watch.Wait() }
}

// prepareSchema brings the schema up to date, where the configuration and the role allow it, and checks that it fits.
func prepareSchema(ctx context.Context, db *store.DB, cfg *config.Config, log *slog.Logger) error {
	err := db.CheckSchema(ctx)
	if f, ok := errors.AsType[*fault.Error](err); ok && f.Code == "schema_older" && cfg.Database.Migrate {
		applied, err := db.Migrate(ctx)
		if err != nil {
			return err
		}
		log.InfoContext(ctx, "schema brought up to date", "schema", cfg.Database.Schema, "migrations", len(applied))
		return db.CheckSchema(ctx)
	}
	return err
}

// keepCopies says why servers' copies are not touched, if they are not: a database that may lose a commit must not be
// the only place where a message is.
func keepCopies(ctx context.Context, db *store.DB, log *slog.Logger) (string, error) {
	durable, why, err := db.Durable(ctx)
	if err != nil || durable {
		return "", err
	}
	log.WarnContext(ctx, "the database may lose commits: no mail is deleted or moved on any server", "settings", why)
	return why, nil
}

// serveHealth answers /livez and /readyz.
func serveHealth(ctx context.Context, wg *sync.WaitGroup, cfg *config.Config, log *slog.Logger, db *store.DB, s *scheduler.Scheduler) error {
	if cfg.Admin.Listen == "" {
		return nil
	}
	l, err := admin.Listen(ctx, cfg.Admin.Listen)
	if err != nil {
		return err
	}
	fresh := func(context.Context) error {
		if silence := s.Stats().Heartbeat; silence > cfg.Scheduler.StaleAfter/2 {
			return fault.New(fault.Transient, "heartbeat_stale", "check that the database can be reached",
				fmt.Errorf("no heartbeat was written for %s", silence.Round(time.Second)))
		}
		return nil
	}
	server := admin.New(
		[]admin.Check{{Name: "scheduler", Run: func(context.Context) error { return s.Alive() }}},
		[]admin.Check{
			{Name: "database", Run: db.Ping},
			{Name: "schema", Run: db.CheckSchema},
			{Name: "heartbeat", Run: fresh},
		}, log)
	wg.Go(func() {
		if err := server.Serve(ctx, l); err != nil {
			log.Error("health is not served any more", "error", err)
		}
	})
	return nil
}
