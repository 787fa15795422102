// Package demo runs Postroom on sample mail: sample mail servers on this machine, a PostgreSQL of its own, and the
// real daemon in between.
//
// It tells what happens as it happens, checks it against what the sample mail says should happen, and keeps running so
// that a newcomer can look around. All people and messages are made up.
//
// Invariants: nothing but loopback is listened on; the database is one of its own, whatever the environment says; what
// it counts is read from the tables; when Run returns, no process, port or temporary folder is left.
package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"slices"
	"time"

	"github.com/postroom/postroom/internal/apply"
	"github.com/postroom/postroom/internal/config"
	"github.com/postroom/postroom/internal/fault"
	"github.com/postroom/postroom/internal/pgserver"
	"github.com/postroom/postroom/internal/store"
)

// How long things may take.
const (
	accountTimeout = 2 * time.Minute // until all sample messages are accounted for
	stopTimeout    = time.Minute     // of PostgreSQL
	lookEvery      = 500 * time.Millisecond
)

// Options say how the demo runs.
type Options struct {
	Dir     string    // is kept; "": a temporary folder, removed at the end
	Once    bool      // end when all mail is accounted for, or cannot be
	JSON    bool      // write the account as one object to Out, everything else to Err
	Program string    // how a shell calls this program, for the commands that are shown
	Out     io.Writer // what happens
	Err     io.Writer // warnings of the daemon

	// Serve runs the daemon until ctx ends. audit takes one line for each message's outcome.
	Serve func(ctx context.Context, cfg *config.Config, log, audit *slog.Logger) error
}

// run is one run of the demo.
type run struct {
	Options
	*audience

	folder  *folder
	server  *pgserver.Server
	servers *servers
	cfg     *config.Config
	db      *store.DB
	log     *slog.Logger
}

// Run runs the demo until ctx ends; with Options.Once until the mail is accounted for. It returns nil if it was; a
// *fault.Error demo_unaccounted says what is missing. It ends, too, when what it says cannot be written any more: then the
// caller must see to it that SIGPIPE does not end the process. PostgreSQL that is not installed is postgres_missing.
func Run(ctx context.Context, o Options) (err error) {
	ctx, stopAll := context.WithCancelCause(ctx)
	defer stopAll(nil)
	told := &audience{w: o.Out, gone: stopAll}
	if o.JSON {
		told.w = o.Err
	}
	r := &run{Options: o, audience: told}
	if r.folder, err = openFolder(o.Dir); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.folder.remove()) }()
	stop, err := r.prepare(ctx)
	if err == nil {
		err = r.serve(ctx)
	}
	if !o.Once && ctx.Err() != nil && errors.Is(err, context.Canceled) {
		err = nil // that is how it ends
	}
	if cause := context.Cause(ctx); errors.Is(cause, errUnheard) {
		err = cause
	}
	return errors.Join(err, stop())
}

// prepare starts everything that the daemon needs. stop, never nil, undoes it in the opposite order.
func (r *run) prepare(ctx context.Context) (stop func() error, err error) {
	var undo []func() error
	stop = func() error {
		var errs []error
		for _, step := range slices.Backward(undo) {
			errs = append(errs, step())
		}
		return errors.Join(errs...)
	}
	r.say("Starting PostgreSQL and the sample mail servers …")
	cfg := config.Default()
	cfg.DataDir = r.folder.dir
	r.server, err = pgserver.Start(ctx, pgserver.Options{Dir: cfg.DatabaseDir(), Durable: true, Remove: r.folder.temp})
	if err != nil {
		return stop, err
	}
	undo = append(undo, func() error {
		out, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTimeout)
		defer cancel()
		return r.server.Stop(out)
	})
	// Only now is it sure that no other demo runs in the folder.
	if err := r.configure(); err != nil {
		return stop, err
	}
	logFile, err := os.OpenFile(r.folder.log(), os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return stop, unusable(err)
	}
	undo = append(undo, logFile.Close)
	r.log = slog.New(slog.NewMultiHandler(slog.NewTextHandler(logFile, nil),
		slog.NewTextHandler(r.Err, &slog.HandlerOptions{Level: slog.LevelWarn})))
	if r.servers, err = startServers(ctx, r.folder, r.Program); err != nil {
		return stop, err
	}
	undo = append(undo, func() error { r.servers.close(); return nil })
	r.db, err = store.Open(ctx, store.Options{URL: r.server.URL(), Schema: r.cfg.Database.Schema, MaxConns: 4, ApplicationName: "postroom demo"})
	if err != nil {
		return stop, err
	}
	undo = append(undo, func() error { r.db.Close(); return nil })
	return stop, r.applyRecords(ctx)
}

// configure writes the configuration and reads it as the daemon does, without the environment: the demo must not write
// into anybody's own database.
func (r *run) configure() (err error) {
	if err := r.folder.claim(); err != nil {
		return err
	}
	if r.cfg, _, err = config.Load(r.folder.config(), nil); err != nil {
		return fmt.Errorf("read the demo's configuration: %w", err)
	}
	r.cfg.Database.URL = r.server.URL() // the daemon is not to start it a second time
	return nil
}

// applyRecords makes the schema anew, and in it the records of the folder's file.
func (r *run) applyRecords(ctx context.Context) error {
	if _, err := r.db.Pool().Exec(ctx, "DROP SCHEMA IF EXISTS "+r.db.Schema()+" CASCADE"); err != nil {
		return fmt.Errorf("remove what an earlier demo recorded: %w", err)
	}
	if _, err := r.db.Migrate(ctx); err != nil {
		return err
	}
	desired, err := apply.Load([]string{r.folder.records()})
	if err != nil {
		return err
	}
	plan, err := apply.NewPlan(ctx, r.db, desired)
	if err != nil {
		return err
	}
	if err := apply.Execute(ctx, r.db, plan); err != nil {
		return err
	}
	people, err := templates.ReadFile("people.sql")
	if err != nil {
		return fmt.Errorf("read the demo's people: %w", err)
	}
	if _, err := r.db.Pool().Exec(ctx, string(people)); err != nil {
		return fmt.Errorf("write the demo's people: %w", err)
	}
	return nil
}

// serve runs the daemon and watches what becomes of the mail.
func (r *run) serve(ctx context.Context) error {
	boxes, err := r.boxes(ctx)
	if err != nil {
		return err
	}
	decided := make(chan struct{}, 1)
	audit := slog.New(&audit{audience: r.audience, boxes: boxes, find: r.servers.find, decided: decided, met: map[messageSize]int{}})
	r.say("%d messages wait in three mailboxes. The daemon decides about them:\n", len(r.servers.mails))

	inner, stop := context.WithCancel(ctx)
	d := &daemon{done: make(chan struct{})}
	go func() {
		defer close(d.done)
		d.err = r.Serve(inner, r.cfg, r.log, audit)
	}()
	defer func() { stop(); <-d.done }()
	err = r.watch(ctx, decided, d)
	stop()
	<-d.done
	if d.err != nil && !errors.Is(d.err, context.Canceled) {
		err = errors.Join(err, fault.Wrap(d.err, "the daemon"))
	}
	return err
}

// daemon is the daemon at work.
type daemon struct {
	done chan struct{} // closed when it has ended
	err  error         // how, once done is closed
}

// boxes returns the polled mailboxes by their ids.
func (r *run) boxes(ctx context.Context) (map[int64]box, error) {
	all, err := r.db.Mailboxes(ctx)
	if err != nil {
		return nil, err
	}
	boxes := make(map[int64]box, len(all))
	for _, m := range all {
		boxes[m.ID] = box(m.Name)
	}
	return boxes, nil
}

// watch waits until the mail is accounted for, tells so, and, unless it is to end by itself, waits on until ctx or the
// daemon ends.
func (r *run) watch(ctx context.Context, decided <-chan struct{}, d *daemon) error {
	acc, err := r.wait(ctx, decided, d)
	if err != nil {
		return err
	}
	err = acc.err()
	r.account(acc)
	if !r.Once {
		r.guide(r.folder, r.Program, r.server, acc) //nolint:contextcheck // looking for psql takes none
	}
	if r.JSON {
		err = errors.Join(err, writeJSON(r.Out, acc))
	}
	if r.Once {
		return err
	}
	select {
	case <-ctx.Done():
	case <-d.done:
		err = errors.Join(err, errEnded)
	}
	return err
}

// wait looks at the tables after each outcome until all mail is accounted for, or every message has an outcome and some
// a wrong one, or accountTimeout is over.
func (r *run) wait(ctx context.Context, decided <-chan struct{}, d *daemon) (*Account, error) {
	late := time.NewTimer(accountTimeout)
	defer late.Stop()
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for timedOut := false; ; {
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-d.done:
			return nil, errEnded
		case <-decided:
		case <-tick.C:
		case <-late.C:
			timedOut = true
		}
		acc, err := takeAccount(ctx, r.db, r.servers.mails)
		if err != nil || timedOut || acc.settled(len(r.servers.mails)) {
			return acc, err
		}
	}
}

// errEnded says that the daemon did not stay.
var errEnded = errors.New("the daemon has ended by itself")
