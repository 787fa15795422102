package pipeline

import (
	"crypto/sha256"
	"fmt"
	"runtime/debug"
	"strconv"

	"github.com/postroom/postroom/internal/activity"
	"github.com/postroom/postroom/internal/classify"
	"github.com/postroom/postroom/internal/eml"
	"github.com/postroom/postroom/internal/forward"
	"github.com/postroom/postroom/internal/mailbox"
	"github.com/postroom/postroom/internal/receipt"
	"github.com/postroom/postroom/internal/source"
	"github.com/postroom/postroom/internal/trace"
)

// message is one arrival on its way through the stages.
type message struct {
	batch     *Batch
	arrival   *Arrival
	outer     *eml.Message
	class     classify.Result
	plan      receipt.Outcome // of the whole message, when no original is to be looked at
	reason    receipt.Reason
	originals []*original
	receipt   receipt.Receipt
	trace     trace.Trace
	at        trace.Stage // that works on it now
}

// original is one message inside a wrapper, or the message itself outside a forward mailbox.
type original struct {
	ordinal       int
	path          string
	raw           *source.Raw // where the span lies
	own           bool        // raw is not the arrival's: a transfer encoding was undone
	offset        int64
	octets        int64
	message       *eml.Message
	class         classify.Class
	recipient     *mailbox.Mailbox
	found         forward.Attribution
	authenticated bool
	how           string // why it is trusted
	plan          receipt.Outcome
	reason        receipt.Reason
	view          *eml.View
	correlations  []activity.Correlation
	activity      *activity.Activity
	identity      activity.Identity
	content       activity.Content
}

func newMessage(b *Batch, a *Arrival) *message {
	return &message{batch: b, arrival: a, receipt: receipt.Receipt{
		ID: a.ReceiptID, Ref: a.Ref, Generation: a.Generation, Ordinal: a.Ordinal, SeenAt: a.SeenAt,
		Baseline: a.Baseline, Raw: a.Raw,
	}}
}

// stop ends the way of the whole message: none of its originals is looked at.
func (m *message) stop(plan receipt.Outcome, reason receipt.Reason) { m.plan, m.reason = plan, reason }

// stop ends the way of one original.
func (o *original) stop(plan receipt.Outcome, reason receipt.Reason) { o.plan, o.reason = plan, reason }

// addTrace appends what a stage says about one original.
func (m *message) addTrace(o *original, steps trace.Trace) {
	for _, s := range steps {
		s.Item = o.ordinal
		m.trace = append(m.trace, s)
	}
}

// sum returns the sha256 of the original's octets.
func (o *original) sum(m *message) [sha256.Size]byte {
	if o.raw != m.arrival.Raw || o.octets == m.arrival.Raw.Octets() {
		return o.raw.SHA256()
	}
	return sha256.Sum256(o.raw.Bytes()[o.offset : o.offset+o.octets])
}

// panicked notes that a stage fell over a message, and has it tried again later from our store. Its octets are written
// in any case. Of the cause only the type is logged: it may hold text of the message.
func (p *Pipeline) panicked(m *message, cause any) {
	m.trace.Add(m.at, "stage_panicked", "tries", strconv.Itoa(m.arrival.Tries+1))
	p.Log.Error("a stage panicked on a message", append(m.attrs(), "cause", fmt.Sprintf("%T", cause), "stack", string(debug.Stack()))...)
	closeOwn([]*message{m})
	m.retry(p.Tries, true)
}

// failed notes that a stage could not do its work, which is no fault of the message, and has it tried again later from
// our store.
func (p *Pipeline) failed(m *message, cause error) {
	m.trace.Add(m.at, "stage_failed")
	p.Log.Error("a stage failed on a message: it is decided later", append(m.attrs(), "error", cause)...)
	closeOwn([]*message{m})
	m.retry(p.Tries, false)
}

// attrs name the message in a log line.
func (m *message) attrs() []any {
	return []any{
		"mailbox_id", m.batch.Mailbox.ID, "folder_id", m.batch.FolderID, "uid", m.arrival.Ref.UID,
		"receipt_id", m.arrival.ReceiptID, "octets", m.arrival.Raw.Octets(),
	}
}

// closeOwn lets go of the octets that unwrapping made.
func closeOwn(messages []*message) {
	for _, m := range messages {
		for _, o := range m.originals {
			if o.own {
				_ = o.raw.Close() // a mapping of our own: nothing is lost if it stays
			}
		}
	}
}
