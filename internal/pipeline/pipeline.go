// Package pipeline takes mail from octets to records. A message's way is Run and decide, in this file, read from top to
// bottom; what each stage does stands in stages.go, and in record.go from correlate on:
//
//	read ▶ classify ▶ unwrap ▶ attribute ▶ trust ▶ accept ▶ correlate ▶ resolve ▶ record
//
// The stages up to correlate decide about one message at a time and have no I/O but the spool for originals too long for
// the heap; resolve asks the party directory once a batch; record is one transaction for the batch, guarded by the
// lease's token. Each stage takes what the one before it found and adds to the trace.
//
// Invariants: no message is refused; a stage up to correlate that panics costs its own message only; whatever is decided
// is written together with the octets; a batch that cannot be written is written message by message, so that only the
// bad one goes to quarantine.
package pipeline

import (
	"context"
	"log/slog"
	"strconv"
	"time"

	"github.com/google/uuid"

	"github.com/postroom/postroom/internal/eml"
	"github.com/postroom/postroom/internal/mailbox"
	"github.com/postroom/postroom/internal/receipt"
	"github.com/postroom/postroom/internal/relate"
	"github.com/postroom/postroom/internal/source"
	"github.com/postroom/postroom/internal/trace"
)

// Writer writes a batch in one transaction that compares the lease's token. Results are in the batch's order.
type Writer interface {
	Write(ctx context.Context, lease mailbox.Lease, b *receipt.Batch) ([]receipt.Result, error)
}

// Loader stores the octets of a large message ahead of its batch, in chunks, and returns their raw row.
type Loader interface {
	Load(ctx context.Context, daemon uuid.UUID, r *source.Raw) (int64, error)
	// Discard removes what was loaded and not adopted; it does nothing to what was.
	Discard(ctx context.Context, loadID int64) error
}

// Options are what a Pipeline needs. All but Limits and Tries must be set.
type Options struct {
	Writer   Writer
	Loader   Loader
	Resolver relate.Resolver
	Log      *slog.Logger
	Audit    *slog.Logger // one line for each message's outcome: ids, octets, codes
	Limits   eml.Limits   // zero: eml.DefaultLimits
	Tries    int          // of a decision, before the message is quarantined; zero: 5
	// Isolates says whether an error of Writer is about a row, so that writing the messages one by one helps.
	Isolates func(error) bool
	SpoolDir string // for originals too long for the heap; "": the system's
}

// Pipeline decides about mail and has it written. It is safe for concurrent use.
type Pipeline struct {
	Options
	html sanitizer
}

// New returns a Pipeline.
func New(o Options) *Pipeline {
	if o.Limits == (eml.Limits{}) {
		o.Limits = eml.DefaultLimits()
	}
	if o.Tries == 0 {
		o.Tries = 5
	}
	return &Pipeline{Options: o, html: newSanitizer()}
}

// Arrival is one message as a poll found it.
type Arrival struct {
	Ref        source.Ref
	Generation int
	Ordinal    int
	SeenAt     time.Time
	Baseline   bool           // POP3: listed at the start point, not to be read
	Raw        *source.Raw    // nil: the octets cannot be had, and Reason says why
	HeaderOnly bool           // Raw is the header alone, and Reason says why
	Reason     receipt.Reason // of a message whose octets cannot be had
	ReceiptID  int64          // set when it is stored already and decided again
	Tries      int            // how often a decision failed before
}

// Batch is what one poll hands over at once: up to 50 messages or 4 MB of one folder.
type Batch struct {
	Lease    mailbox.Lease
	Mailbox  *mailbox.Mailbox  // that is polled
	Registry *mailbox.Registry // who receives mail here
	FolderID int64
	Arrivals []Arrival
	Closed   []int64         // POP3: receipts that a complete listing no longer shows
	Cursor   *receipt.Cursor // where the folder's cursor goes
}

// Run decides about a batch and writes it. When it returns nil, every message of the batch is accounted for and its
// octets are durable. It does not close the arrivals' Raws.
func (p *Pipeline) Run(ctx context.Context, b Batch) ([]receipt.Result, error) {
	messages := make([]*message, len(b.Arrivals))
	for i := range b.Arrivals {
		messages[i] = p.decide(&b, &b.Arrivals[i])
	}
	defer closeOwn(messages)
	p.resolve(ctx, messages)
	return p.record(ctx, &b, messages)
}

// decide takes one message through the stages that decide about it alone. A panic in one of them costs this message a try.
func (p *Pipeline) decide(b *Batch, a *Arrival) (m *message) {
	m = newMessage(b, a)
	if a.Baseline || a.Raw == nil || a.HeaderOnly {
		m.account()
		return m
	}
	defer func() {
		if cause := recover(); cause != nil {
			p.panicked(m, cause)
		}
	}()
	m.trace.Add(trace.Fetch, "fetched", "octets", strconv.FormatInt(a.Raw.Octets(), 10), "folder", a.Ref.Folder)
	p.read(m)
	p.classify(m)
	if err := p.unwrap(m); err != nil {
		p.failed(m, err)
		return m
	}
	for _, o := range m.originals {
		p.attribute(m, o)
		p.trust(m, o)
		p.accept(m, o)
		p.correlate(m, o)
		p.compose(m, o)
	}
	m.account()
	return m
}
