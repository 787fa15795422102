// Package poller polls one mailbox once: it opens the server, lists what is new, has it decided and written in batches,
// and afterwards disposes of the server's copies of what is durable.
//
// Invariants: nothing is disposed of before its receipt is committed; the cursor never passes a message without a
// receipt; message-numbers and sequence numbers are never identity; a message that the server cannot hand over costs
// itself, not the mailbox; a session is not held open by a slow database for longer than its batch.
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

// Ledger is what the poller asks the database before it fetches.
type Ledger interface {
	// Cursors returns the cursors of the mailbox's folders, making those that are missing.
	Cursors(ctx context.Context, mailboxID int64, folders []string) ([]mailbox.Cursor, error)
	// OpenRefs returns the receipts that the last complete listing of a maildrop left open, by generation.
	OpenRefs(ctx context.Context, folderID int64) ([]receipt.OpenRef, error)
	// MaxGeneration returns the highest generation of each unique-id that was ever used.
	MaxGeneration(ctx context.Context, folderID int64, digests [][16]byte) (map[[16]byte]int, error)
	// StoredDue returns messages whose octets are kept and whose decision is to be tried again now.
	StoredDue(ctx context.Context, folderID int64, limit int) ([]receipt.Stored, error)
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

// Poll polls a mailbox once. The context's deadline is the poll's; when most of it is used the poll stops between two
// batches and says More.
func (p *Poller) Poll(ctx context.Context, lease mailbox.Lease, m *mailbox.Mailbox, registry *mailbox.Registry) (*Outcome, error) {
	r := &run{
		Poller: p, lease: lease, mailbox: m, registry: registry, soft: softDeadline(ctx),
		out: &Outcome{Results: map[receipt.Outcome]int{}},
	}
	defer r.hangUp(ctx)
	cursors, err := p.Ledger.Cursors(ctx, m.ID, m.Folders)
	if err != nil {
		return r.out, err
	}
	for _, c := range cursors {
		if err := r.again(ctx, c); err != nil {
			return r.out, err
		}
	}
	if err := r.connect(ctx); err != nil {
		return r.out, err
	}
	var folderErrs []error
	var read []mailbox.Cursor
	for _, c := range cursors {
		if err := r.folder(ctx, c); err != nil {
			if !skipsFolder(err) {
				return r.out, errors.Join(append(folderErrs, err)...)
			}
			folderErrs = append(folderErrs, err) // one folder's fault does not keep the others
			continue
		}
		read = append(read, c)
	}
	r.out.Partial = len(read) > 0
	if err := r.dispose(ctx, read); err != nil {
		folderErrs = append(folderErrs, err)
	}
	return r.out, errors.Join(folderErrs...)
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

// softDeadline is when a poll stops taking new batches: four fifths of its time.
func softDeadline(ctx context.Context) time.Time {
	end, ok := ctx.Deadline()
	if !ok {
		return time.Time{}
	}
	return end.Add(-time.Until(end) / 5)
}

// run is one poll under way.
type run struct {
	*Poller
	lease    mailbox.Lease
	mailbox  *mailbox.Mailbox
	registry *mailbox.Registry
	password string
	session  Session
	shown    map[idKey]source.Ref // POP3: this poll's listing
	soft     time.Time
	out      *Outcome
}

// late reports whether no new batch is to be begun.
func (r *run) late() bool { return !r.soft.IsZero() && time.Now().After(r.soft) }

// connect opens a session, or a new one after a failure.
func (r *run) connect(ctx context.Context) error {
	r.hangUp(ctx)
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
	s, err := opener.Open(ctx, profile, r.mailbox.Username, r.password)
	if err != nil {
		return err
	}
	r.session = s
	return nil
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

// folder takes what is new in one folder.
func (r *run) folder(ctx context.Context, c mailbox.Cursor) error {
	var w work
	var err error
	if r.mailbox.Profile.Protocol == mailbox.POP3 {
		w, err = r.listMaildrop(ctx, c)
	} else {
		w, err = r.listFolder(ctx, c)
	}
	if err != nil {
		return err
	}
	return r.take(ctx, w)
}

// again has messages decided whose octets are stored already.
func (r *run) again(ctx context.Context, c mailbox.Cursor) error {
	for !r.late() {
		stored, err := r.Ledger.StoredDue(ctx, c.FolderID, r.BatchSize)
		if err != nil || len(stored) == 0 {
			return err
		}
		arrivals := make([]pipeline.Arrival, 0, len(stored))
		for _, s := range stored {
			raw, err := r.Octets.Spool(ctx, s.RawID, 0, s.RawOctets, r.SpoolDir)
			if err != nil {
				closeAll(arrivals)
				return fault.Wrap(err, "read the octets of receipt %d again", s.ReceiptID)
			}
			arrivals = append(arrivals, pipeline.Arrival{
				Ref: s.Ref, Generation: s.Generation, Ordinal: s.Ordinal, SeenAt: s.SeenAt,
				Raw: raw, ReceiptID: s.ReceiptID, Tries: s.Tries,
			})
		}
		if err := r.write(ctx, pipeline.Batch{FolderID: c.FolderID, Arrivals: arrivals}); err != nil {
			return err
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

// write has a batch decided and written, counts what became of it, and lets go of its octets.
func (r *run) write(ctx context.Context, b pipeline.Batch) error {
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
