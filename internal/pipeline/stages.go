package pipeline

import (
	"strconv"

	"github.com/postroom/postroom/internal/classify"
	"github.com/postroom/postroom/internal/eml"
	"github.com/postroom/postroom/internal/forward"
	"github.com/postroom/postroom/internal/mailbox"
	"github.com/postroom/postroom/internal/receipt"
	"github.com/postroom/postroom/internal/relate"
	"github.com/postroom/postroom/internal/trace"
)

// read makes a view of the octets. It never refuses.
func (p *Pipeline) read(m *message) {
	m.at = trace.Read
	m.outer = eml.Read(m.arrival.Raw.Bytes(), p.Limits)
	parts := 0
	for range m.outer.Walk() {
		parts++
	}
	m.trace.Add(trace.Read, "read", "media_type", m.outer.Root.MediaType, "parts", strconv.Itoa(parts),
		"defects", strconv.Itoa(len(m.outer.Defects)))
}

// classify says what kind of message it is, by structure and header fields alone.
func (p *Pipeline) classify(m *message) {
	m.at = trace.Classify
	m.class = classify.Classify(m.outer)
	m.trace.Add(trace.Classify, "class", "class", string(m.class.Class), "reason", m.class.Reason)
}

// unwrap finds the originals: in a forward mailbox those that the wrapper holds, elsewhere the message itself. The error
// is about spooling a long original, never about the message.
func (p *Pipeline) unwrap(m *message) error {
	m.at = trace.Unwrap
	if m.batch.Mailbox.Kind != mailbox.Forward {
		m.originals = []*original{{
			ordinal: 1, raw: m.arrival.Raw, octets: m.arrival.Raw.Octets(), message: m.outer,
			recipient: m.batch.Mailbox, class: own(m.class), authenticated: true, how: "direct",
		}}
		return nil
	}
	if plan, reason := notUnwrapped(m.class); reason != "" {
		m.stop(plan, reason)
		return nil
	}
	u, err := forward.Unwrap(m.outer, p.SpoolDir)
	if err != nil {
		return err
	}
	m.trace = append(m.trace, u.Trace...)
	if u.Defect != "" {
		m.stop(receipt.Quarantined, u.Defect)
		return nil
	}
	for _, found := range u.Originals {
		o := &original{
			ordinal: found.Ordinal, path: found.Path, raw: m.arrival.Raw, own: found.Raw != nil,
			offset: found.Offset, octets: found.Octets, message: eml.Read(found.Bytes(m.outer), p.Limits),
		}
		if o.own {
			o.raw = found.Raw
		}
		o.class = own(classify.Classify(o.message))
		m.originals = append(m.originals, o)
	}
	if len(m.originals) == 0 {
		m.stop(receipt.Quarantined, receipt.NoOriginal)
	}
	return nil
}

// own returns the class that an activity has: what is inside a message that is not unwrapped makes it no other.
func own(c classify.Result) classify.Class {
	if c.Class == classify.Wrapper {
		return classify.Ordinary
	}
	return c.Class
}

// notUnwrapped says what becomes of a message that stands in a forward mailbox and is no wrapper; reason is "" for one.
func notUnwrapped(c classify.Result) (plan receipt.Outcome, reason receipt.Reason) {
	switch c.Class {
	case classify.Wrapper:
		return "", ""
	case classify.DSN, classify.ARF, classify.MDN:
		if !c.Doubtful {
			return receipt.Ignored, receipt.Report
		}
	case classify.AutoReply:
		if !c.Doubtful {
			return receipt.Ignored, receipt.AutoReply
		}
	case classify.List, classify.Digest:
		return receipt.Quarantined, receipt.ListMail
	case classify.Journal:
		return receipt.Quarantined, receipt.Journal
	case classify.Ordinary, classify.Unreadable:
	}
	return receipt.Quarantined, receipt.NoOriginal
}

// attribute finds the recipient mailbox by evidence, the strongest first. Outside a forward mailbox it is known.
func (p *Pipeline) attribute(m *message, o *original) {
	m.at = trace.Attribute
	if m.batch.Mailbox.Kind != mailbox.Forward {
		return
	}
	o.found = forward.Attribute(m.outer, o.message, m.batch.Registry, m.batch.Mailbox)
	m.addTrace(o, o.found.Trace)
	o.recipient = o.found.Recipient
	if o.found.Reason != "" {
		o.stop(receipt.Quarantined, o.found.Reason)
	}
}

// trust asks whether the wrapper proves that the recipient sent it. It comes after attribute because an authenticated
// sender proves something about one recipient only. What cannot be attributed is judged too: a person who looks at the
// quarantine wants to know.
func (p *Pipeline) trust(m *message, o *original) {
	m.at = trace.Trust
	if m.batch.Mailbox.Kind != mailbox.Forward {
		return
	}
	v := forward.Trust(m.outer, m.batch.Mailbox, o.found)
	m.addTrace(o, v.Trace)
	o.authenticated, o.how = v.Authenticated, string(v.Method)
	if !v.Trusted && o.plan == "" {
		o.stop(receipt.Quarantined, v.Reason)
	}
}

// accept asks the recipient mailbox's filter.
func (p *Pipeline) accept(m *message, o *original) {
	m.at = trace.Accept
	if o.plan != "" {
		return
	}
	if reason, ok := relate.Accept(o.recipient); !ok {
		m.trace.AddItem(o.ordinal, trace.Accept, "not_accepted", "rule", string(reason))
		o.stop(receipt.Ignored, reason)
		return
	}
	m.trace.AddItem(o.ordinal, trace.Accept, "accepted", "filter", string(o.recipient.Accept))
}
