// Package poller polls one mailbox once: it opens the server, lists what is new, has it decided and written in batches,
// and afterwards disposes of the server's copies of what is durable.
//
// Invariants: nothing is disposed of before its receipt is committed; the cursor never passes a message without a
// receipt; message-numbers and sequence numbers are never identity; a message that the server cannot hand over costs
// itself, not the mailbox, and is blamed only while the server hands out others; octets that were fetched are written,
// whatever fails after them; a poll that has time for nothing else gets one batch further, or says that it does not.
package poller

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"golang.org/x/sync/semaphore"

	"github.com/postroom/postroom/internal/fault"
	"github.com/postroom/postroom/internal/mailbox"
	"github.com/postroom/postroom/internal/pipeline"
	"github.com/postroom/postroom/internal/receipt"
	"github.com/postroom/postroom/internal/source"
)

// Session is one open connection to a mail server, logged in.
type Session interface {
	// List opens a folder read-only and lists what it holds from since on.
	List(ctx context.Context, folder string, since source.Since) (source.Listing, error)
	// Fetch hands every ref to take exactly once, or fails. Refs are of the folder that was listed last.
	Fetch(ctx context.Context, refs []source.Ref, maxOctets int64, take func(source.Fetched) error) error
	// Dispose carries out orders whose identity this session has shown. On POP3 it ends the session.
	Dispose(ctx context.Context, orders []source.Order) ([]source.Disposed, error)
	// Close logs out. It never blocks for long.
	Close(ctx context.Context) error
}

// Opener opens sessions of one protocol.
type Opener interface {
	Open(ctx context.Context, p *mailbox.Profile, username, password string) (Session, error)
}

// Folders is what the poller asks the database before it fetches.
type Folders interface {
	// Cursors returns the cursors of the folders that the mailbox watches in its account, making those that are missing.
	Cursors(ctx context.Context, m *mailbox.Mailbox) ([]mailbox.Cursor, error)
	// NextEpoch begins a folder anew whose server gives out UIDs again, and voids its dispositions.
	NextEpoch(ctx context.Context, lease mailbox.Lease, folderID int64) (mailbox.Cursor, error)
	// OpenRefs returns the receipts that the last complete listing of a maildrop left open, by generation.
	OpenRefs(ctx context.Context, folderID int64) ([]receipt.OpenRef, error)
	// MaxGeneration returns the highest generation of each unique-id that was ever used.
	MaxGeneration(ctx context.Context, folderID int64, digests [][16]byte) (map[[16]byte]int, error)
}

// Waiting is the messages whose octets are kept and whose decision failed before.
type Waiting interface {
	// StoredDue returns those of a mailbox whose decision is to be tried again now.
	StoredDue(ctx context.Context, mailboxID int64, limit int) ([]receipt.Stored, error)
	// Postpone lets one wait for at least d.
	Postpone(ctx context.Context, lease mailbox.Lease, receiptID int64, d time.Duration) error
}

// Ledger is what the database knows of a mailbox's messages.
type Ledger interface {
	Folders
	Waiting
}

// Octets reads what is kept.
type Octets interface {
	// Spool returns length octets of a raw row from offset on.
	Spool(ctx context.Context, rawID, offset, length int64, dir string) (*source.Raw, error)
}

// Disposer is what the poller asks the database about the server's copies.
type Disposer interface {
	// DueDispositions returns the committed receipts of a folder whose disposition is due.
	DueDispositions(ctx context.Context, folderID int64, limit int) ([]receipt.Due, error)
	// MarkDisposed writes how far dispositions came, guarded by the lease.
	MarkDisposed(ctx context.Context, lease mailbox.Lease, disposed []source.Disposed) error
	// VoidDispositions ends those of another UIDVALIDITY: those messages cannot be found again.
	VoidDispositions(ctx context.Context, lease mailbox.Lease, folderID int64, uidValidity uint32) error
}

// Pipeline decides and writes.
type Pipeline interface {
	Run(ctx context.Context, b pipeline.Batch) ([]receipt.Result, error)
}

// Options are what a Poller needs.
type Options struct {
	Openers     map[mailbox.Protocol]Opener
	Ledger      Ledger
	Octets      Octets
	Disposer    Disposer
	Pipeline    Pipeline
	Log         *slog.Logger
	Secret      func(ref string) (string, error)
	InFlight    *semaphore.Weighted // octets that all polls of this daemon may hold
	MaxInFlight int64               // its size
	BatchSize   int                 // messages in a batch; zero: 50
	BatchOctets int64               // octets in a batch; zero: 4 MiB
	KeepCopies  string              // not "": why no server's copy is touched
	SpoolDir    string
}

// Poller polls mailboxes. It is safe for concurrent use.
type Poller struct{ Options }

// New returns a Poller.
func New(o Options) *Poller {
	if o.BatchSize == 0 {
		o.BatchSize = 50
	}
	if o.BatchOctets == 0 {
		o.BatchOctets = 4 << 20
	}
	return &Poller{o}
}

// Outcome is what a poll did.
type Outcome struct {
	Listed   int // messages that the server showed as new
	Results  map[receipt.Outcome]int
	Disposed int
	More     bool // time ran out with mail left: poll again at once
	// Partial says, beside an error, that it is about single folders, or about the server's copies, and that everything
	// else was read: there is no reason to poll more rarely.
	Partial bool
}

// Poll polls a mailbox once. The context's deadline is the poll's: after four fifths of its time no further batch is
// begun, after nine tenths the server is not waited for any longer, and what has come by then is written. When mail is
// left, the outcome says More; when nothing was got done, the error is poll_too_slow.
func (p *Poller) Poll(ctx context.Context, lease mailbox.Lease, m *mailbox.Mailbox, registry *mailbox.Registry) (*Outcome, error) {
	r := &run{
		Poller: p, lease: lease, mailbox: m, registry: registry, clock: clockOf(ctx),
		out: &Outcome{Results: map[receipt.Outcome]int{}},
	}
	defer r.hangUp(ctx)
	return r.out, r.poll(ctx)
}

// run is one poll under way.
type run struct {
	*Poller
	clock
	lease    mailbox.Lease
	mailbox  *mailbox.Mailbox
	registry *mailbox.Registry
	password string
	session  Session              // nil: there is none, or it broke
	shown    map[idKey]source.Ref // POP3: this poll's listing
	progress int                  // messages that were fetched or noted and are written, copies that were disposed of
	out      *Outcome
}

// poll is the order of things in a poll.
func (r *run) poll(ctx context.Context) error {
	if err := r.again(ctx); err != nil {
		return err
	}
	cursors, err := r.Ledger.Cursors(ctx, r.mailbox)
	if err != nil {
		return err
	}
	if err := r.connect(ctx); err != nil {
		return err
	}
	var failed []error
	var read []int64
	for _, c := range cursors {
		if r.late() && r.progress > 0 {
			r.out.More = true
			break
		}
		folderID, err := r.folder(ctx, c)
		switch {
		case err == nil:
			read = append(read, folderID)
		case r.outOfTime(err): // the next poll goes on here
		case skipsFolder(err):
			failed = append(failed, err) // one folder's fault does not keep the others
		default:
			return errors.Join(append(failed, err)...)
		}
	}
	r.out.Partial = len(read) > 0
	if err := r.dispose(ctx, read); err != nil && !r.outOfTime(err) {
		failed = append(failed, err)
	}
	return errors.Join(failed...)
}

// outOfTime reports whether err only says that the poll's time was over after it had got something done: then the next
// poll goes on.
func (r *run) outOfTime(err error) bool {
	over := errors.Is(err, errTimeOver) && r.progress > 0
	r.out.More = r.out.More || over
	return over
}

// skipsFolder reports whether an error is about one folder, so that the others can go on in this session.
func skipsFolder(err error) bool {
	if fault.ClassOf(err) != fault.Permanent {
		return false
	}
	switch _, code, _, _ := fault.Describe(err); code {
	case "folder_missing", "folder_not_selectable", "folder_name_invalid", "folder_too_large", "no_uids", "no_permission",
		"corruption":
		return true
	}
	return false
}

// folder takes what is new in one folder. The id that it returns is that of the epoch it was read in.
func (r *run) folder(ctx context.Context, c mailbox.Cursor) (folderID int64, err error) {
	list := r.listFolder
	if r.mailbox.Profile.Protocol == mailbox.POP3 {
		list = r.listMaildrop
	}
	w, err := list(ctx, c)
	if err != nil {
		return 0, err
	}
	return w.folderID, r.take(ctx, w)
}

// connect opens a session.
func (r *run) connect(ctx context.Context) error {
	profile := r.mailbox.Profile
	opener, ok := r.Openers[profile.Protocol]
	if !ok {
		return fault.New(fault.Permanent, "protocol_unknown", "set the profile's protocol to imap or pop3",
			errors.New("no source for protocol "+string(profile.Protocol)))
	}
	if r.password == "" {
		password, err := r.Secret(r.mailbox.SecretRef)
		if err != nil {
			return fault.Wrap(err, "read the password of mailbox %q", r.mailbox.Name)
		}
		r.password = password
	}
	return r.network(ctx, func(ctx context.Context) error {
		s, err := opener.Open(ctx, profile, r.mailbox.Username, r.password)
		if err == nil {
			r.session = s
		}
		return err
	})
}

// list lists a folder, in a new session if there is none.
func (r *run) list(ctx context.Context, folder string, since source.Since) (l source.Listing, err error) {
	if r.session == nil {
		if err := r.connect(ctx); err != nil {
			return l, err
		}
	}
	err = r.network(ctx, func(ctx context.Context) error {
		l, err = r.session.List(ctx, folder, since)
		return err
	})
	return l, err
}

// hangUp closes the session, if there is one.
func (r *run) hangUp(ctx context.Context) {
	if r.session == nil {
		return
	}
	if err := r.session.Close(context.WithoutCancel(ctx)); err != nil {
		r.Log.Debug("session not closed cleanly", "mailbox_id", r.mailbox.ID, "error", err)
	}
	r.session = nil
}

// write has a batch decided and written, counts what became of it, and lets go of its octets. What was fetched is
// written also when the poll's time is over meanwhile.
func (r *run) write(ctx context.Context, b pipeline.Batch) error {
	ctx, cancel := r.lasting(ctx)
	defer cancel()
	b.Lease, b.Mailbox, b.Registry = r.lease, r.mailbox, r.registry
	defer closeAll(b.Arrivals)
	results, err := r.Pipeline.Run(ctx, b)
	if err != nil {
		return err
	}
	for i := range results {
		if results[i].Outcome != "" {
			r.out.Results[results[i].Outcome]++
		}
	}
	return nil
}

// closeAll lets go of octets that are kept elsewhere: in the database, or on the server.
func closeAll(arrivals []pipeline.Arrival) {
	for i := range arrivals {
		if raw := arrivals[i].Raw; raw != nil {
			_ = raw.Close()
		}
	}
}
