package poller_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"testing"
	"time"

	"golang.org/x/sync/semaphore"

	"github.com/postroom/postroom/internal/fault"
	"github.com/postroom/postroom/internal/mailbox"
	"github.com/postroom/postroom/internal/pipeline"
	"github.com/postroom/postroom/internal/poller"
	"github.com/postroom/postroom/internal/receipt"
	"github.com/postroom/postroom/internal/source"
)

// server is a mail server by hand: what it lists, and how each message behaves when it is fetched.
type server struct {
	listing  source.Listing
	missing  string // folder that is not there
	since    []source.Since
	behave   map[uint32]string // by UID, or by message-number: vanished, large, poison, breaks
	onOpen   func(n int) error // called with the number of the session, from 1
	onList   func(source.Listing) source.Listing
	opened   int
	open     bool
	fetched  [][]source.Ref
	orders   []source.Order
	disposed []source.Disposed
	dispErr  error
}

func (s *server) Open(context.Context, *mailbox.Profile, string, string) (poller.Session, error) {
	s.opened++
	if s.onOpen != nil {
		if err := s.onOpen(s.opened); err != nil {
			return nil, err
		}
	}
	s.open = true
	return s, nil
}

func (s *server) List(_ context.Context, folder string, since source.Since) (source.Listing, error) {
	if !s.open {
		return source.Listing{}, errors.New("list on a closed session")
	}
	if folder != "" && folder == s.missing {
		return source.Listing{}, fault.New(fault.Permanent, "folder_missing", "", errors.New("NO"))
	}
	s.since = append(s.since, since)
	if s.onList != nil {
		return s.onList(s.listing), nil
	}
	return s.listing, nil
}

func (s *server) Fetch(ctx context.Context, refs []source.Ref, _ int64, take func(source.Fetched) error) error {
	if !s.open {
		return errors.New("fetch on a closed session")
	}
	s.fetched = append(s.fetched, refs)
	for _, ref := range refs {
		f := source.Fetched{Ref: ref}
		switch s.behave[max(ref.UID, uint32(ref.Number))] {
		case "vanished":
			f.Err = source.ErrVanished
		case "large":
			f.Err, f.Raw = source.ErrTooLarge, source.RawOf([]byte("Subject: header\r\n\r\n"))
		case "poison":
			f.Err = fault.New(fault.Poison, "not_delivered", "", errors.New("BODY[] NIL"))
		case "breaks":
			s.open = false
			return fault.New(fault.Transient, "closed_by_server", "", errors.New("EOF"))
		case "last": // that this session hands out
			s.open = false
			return errors.Join(take(source.Fetched{Ref: ref, Raw: source.RawOf([]byte("Subject: last\r\n\r\n"))}),
				fault.New(fault.Transient, "closed_by_server", "", errors.New("EOF")))
		case "hangs": // until the poll's time is over
			<-ctx.Done()
			s.open = false
			return fault.New(fault.Transient, "interrupted", "", ctx.Err())
		case "spool":
			return fault.New(fault.Transient, "spool", "", errors.New("no space left on device"))
		default:
			f.Raw = source.RawOf(fmt.Appendf(nil, "Subject: %d\r\n\r\n", max(ref.UID, uint32(ref.Number))))
		}
		if err := take(f); err != nil {
			return err
		}
	}
	return nil
}

func (s *server) Dispose(_ context.Context, orders []source.Order) ([]source.Disposed, error) {
	if !s.open {
		return nil, errors.New("dispose on a closed session")
	}
	s.orders = append(s.orders, orders...)
	if s.disposed != nil || s.dispErr != nil {
		return s.disposed, s.dispErr
	}
	out := make([]source.Disposed, len(orders))
	for i, o := range orders {
		out[i] = source.Disposed{ReceiptID: o.ReceiptID, Done: source.DoneYes}
	}
	return out, nil
}

func (s *server) Close(context.Context) error {
	s.open = false
	return nil
}

// ledger is the database by hand: what it knows before the poll, and what is written.
type ledger struct {
	cursor     mailbox.Cursor
	more       []mailbox.Cursor // of further folders
	open       []receipt.OpenRef
	generation map[[16]byte]int
	stored     []receipt.Stored
	damaged    map[int64]error // by raw row
	postponed  []int64
	epochs     int
	due        []receipt.Due
	dueNext    []receipt.Due // what is due once all of due is marked
	dueOf      []int64       // the folders whose dispositions were asked for
	batches    []pipeline.Batch
	raws       []*source.Raw
	marked     []source.Disposed
	voided     []uint32
	writeErr   error
	onWrite    func()
	slowly     time.Duration // how long a write takes
}

func (l *ledger) Cursors(context.Context, *mailbox.Mailbox) ([]mailbox.Cursor, error) {
	return append([]mailbox.Cursor{l.cursor}, l.more...), nil
}

func (l *ledger) NextEpoch(_ context.Context, _ mailbox.Lease, folderID int64) (mailbox.Cursor, error) {
	l.epochs++
	return mailbox.Cursor{FolderID: folderID + 1000, Folder: l.cursor.Folder, StartAt: l.cursor.StartAt}, nil
}

func (l *ledger) OpenRefs(context.Context, int64) ([]receipt.OpenRef, error) { return l.open, nil }
func (l *ledger) MaxGeneration(context.Context, int64, [][16]byte) (map[[16]byte]int, error) {
	return l.generation, nil
}

func (l *ledger) StoredDue(_ context.Context, _ int64, limit int) ([]receipt.Stored, error) {
	return slices.Clone(l.stored[:min(limit, len(l.stored))]), nil
}

func (l *ledger) Postpone(_ context.Context, _ mailbox.Lease, receiptID int64, _ time.Duration) error {
	l.postponed = append(l.postponed, receiptID)
	l.stored = slices.DeleteFunc(l.stored, func(s receipt.Stored) bool { return s.ReceiptID == receiptID })
	return nil
}

func (l *ledger) Spool(_ context.Context, rawID, _, length int64, _ string) (*source.Raw, error) {
	if err := l.damaged[rawID]; err != nil {
		return nil, err
	}
	return source.RawOf(make([]byte, length)), nil
}

func (l *ledger) DueDispositions(_ context.Context, folderID int64, _ int) ([]receipt.Due, error) {
	l.dueOf = append(l.dueOf, folderID)
	if l.dueNext != nil && len(l.marked) >= len(l.due) {
		return l.dueNext, nil
	}
	return l.due, nil
}

func (l *ledger) MarkDisposed(_ context.Context, _ mailbox.Lease, d []source.Disposed) error {
	l.marked = append(l.marked, d...)
	return nil
}

func (l *ledger) VoidDispositions(_ context.Context, _ mailbox.Lease, _ int64, v uint32) error {
	l.voided = append(l.voided, v)
	return nil
}

func (l *ledger) Run(ctx context.Context, b pipeline.Batch) ([]receipt.Result, error) {
	select {
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-time.After(l.slowly):
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if l.writeErr != nil {
		return nil, l.writeErr
	}
	b.Arrivals = slices.Clone(b.Arrivals)
	l.batches = append(l.batches, b)
	results := make([]receipt.Result, len(b.Arrivals))
	for i, a := range b.Arrivals {
		if a.Raw != nil {
			l.raws = append(l.raws, a.Raw)
			results[i].Outcome = receipt.Recorded
		}
		l.stored = slices.DeleteFunc(l.stored, func(s receipt.Stored) bool { return s.ReceiptID == a.ReceiptID })
	}
	if l.onWrite != nil {
		l.onWrite()
	}
	return results, nil
}

// arrivals returns everything that was handed to the pipeline, in order.
func (l *ledger) arrivals() []pipeline.Arrival {
	var all []pipeline.Arrival
	for _, b := range l.batches {
		all = append(all, b.Arrivals...)
	}
	return all
}

// cursors returns how the cursor moved.
func (l *ledger) cursors() []receipt.Cursor {
	var all []receipt.Cursor
	for _, b := range l.batches {
		if b.Cursor != nil {
			all = append(all, *b.Cursor)
		}
	}
	return all
}

func newPoller(s *server, l *ledger, change func(*poller.Options)) *poller.Poller {
	o := poller.Options{
		Openers: map[mailbox.Protocol]poller.Opener{mailbox.IMAP: s, mailbox.POP3: s},
		Ledger:  l, Octets: l, Disposer: l, Pipeline: l,
		Log:      slog.New(slog.DiscardHandler),
		Secret:   func(string) (string, error) { return "pw", nil },
		InFlight: semaphore.NewWeighted(1 << 20), MaxInFlight: 1 << 20,
	}
	if change != nil {
		change(&o)
	}
	return poller.New(o)
}

func box(p mailbox.Protocol) *mailbox.Mailbox {
	return &mailbox.Mailbox{
		ID: 1, Name: "sales", Kind: mailbox.Queue, Profile: &mailbox.Profile{Protocol: p, MaxOctets: 1 << 20},
		Folders: []string{"INBOX"}, Disposition: mailbox.Leave,
	}
}

func poll(t *testing.T, p *poller.Poller, m *mailbox.Mailbox) (*poller.Outcome, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	return p.Poll(ctx, mailbox.Lease{MailboxID: m.ID, Token: 1}, m, mailbox.NewRegistry([]*mailbox.Mailbox{m}))
}

// imapRefs are messages with these UIDs, 100 octets each.
func imapRefs(validity uint32, uids ...uint32) []source.Ref {
	refs := make([]source.Ref, len(uids))
	for i, uid := range uids {
		refs[i] = source.Ref{Folder: "INBOX", UIDValidity: validity, UID: uid, Octets: 100}
	}
	return refs
}
