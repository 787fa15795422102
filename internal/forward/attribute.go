package forward

import (
	"crypto/sha256"
	"slices"
	"strconv"
	"strings"

	"github.com/postroom/postroom/internal/eml"
	"github.com/postroom/postroom/internal/mailbox"
	"github.com/postroom/postroom/internal/receipt"
	"github.com/postroom/postroom/internal/trace"
)

// Kind is what a piece of evidence is.
type Kind string

// The kinds of evidence, strongest first.
const (
	PlusToken     Kind = "plus_token"     // the secret plus-address that our own mail exchanger delivered to
	OuterFrom     Kind = "outer_from"     // the sender of the wrapper
	RulesLoop     Kind = "rules_loop"     // X-MS-Exchange-Inbox-Rules-Loop
	OriginalEnv   Kind = "original_env"   // the original's own Delivered-To, X-Original-To or Envelope-To
	OriginalField Kind = "original_field" // the original's own To or Cc
)

// Strength says what a piece of evidence is good for.
type Strength string

// The strengths.
const (
	Strong        Strength = "strong"        // decides; two that disagree are a conflict
	Corroborating Strength = "corroborating" // is noted, decides nothing
	Weak          Strength = "weak"          // decides where nothing strong is there, if it names one mailbox alone
)

// Evidence is one hint at whose mail an original is.
type Evidence struct {
	Kind      Kind
	MailboxID int64
	Strength  Strength
}

// Attribution says whose mail an original is.
type Attribution struct {
	Recipient *mailbox.Mailbox // nil unless Reason is "" or not_forwarding
	By        Kind             // the evidence that decided
	Evidence  []Evidence       // all that was found, in the order of Kind
	Reason    receipt.Reason   // "", unknown_recipient, evidence_conflict or not_forwarding
	Trace     trace.Trace
}

// Has reports whether there is evidence of this kind for the recipient.
func (a *Attribution) Has(kind Kind) bool {
	for _, e := range a.Evidence {
		if e.Kind == kind && a.Recipient != nil && e.MailboxID == a.Recipient.ID {
			return true
		}
	}
	return false
}

// Attribute finds the recipient mailbox of original, which came in outer to the forward mailbox. Evidence may be forged:
// whether it can be believed is for Trust to say.
func Attribute(outer, original *eml.Message, reg *mailbox.Registry, forward *mailbox.Mailbox) Attribution {
	var a Attribution
	a.tokens(outer.Root.Header, reg, forward)
	if from, ok := soleSender(outer.Root.Header); ok {
		a.note(OuterFrom, reg.ByAddress(from), Strong)
	}
	for _, loop := range outer.Root.Header.All("X-MS-Exchange-Inbox-Rules-Loop") {
		a.note(RulesLoop, reg.ByAddress(strings.Trim(strings.TrimSpace(loop), "<>")), Corroborating)
	}
	h := original.Root.Header
	a.addresses(OriginalEnv, reg, h, "Delivered-To", "X-Original-To", "Envelope-To", "X-Envelope-To")
	a.addresses(OriginalField, reg, h, "To", "Cc")
	a.decide(reg)
	return a
}

// note keeps a piece of evidence, once. Forward mailboxes are nobody's.
func (a *Attribution) note(kind Kind, m *mailbox.Mailbox, s Strength) {
	if m == nil || m.Kind == mailbox.Forward {
		return
	}
	e := Evidence{Kind: kind, MailboxID: m.ID, Strength: s}
	if slices.Contains(a.Evidence, e) {
		return
	}
	a.Evidence = append(a.Evidence, e)
	if len(a.Evidence) <= maxNoted {
		a.Trace.Add(trace.Attribute, "evidence", "kind", string(kind), "mailbox_id", strconv.FormatInt(m.ID, 10), "strength", string(s))
	}
}

// maxNoted is how many pieces of evidence a trace shows.
const maxNoted = 8

// tokens looks for a secret plus-address among the addresses that our own servers say they delivered to.
func (a *Attribution) tokens(h eml.Header, reg *mailbox.Registry, forward *mailbox.Mailbox) {
	unknown := false
	for _, addr := range deliveredTo(h, border(h, mxHosts(forward))) {
		_, token := mailbox.SplitDetail(strings.TrimSpace(addr))
		if token == "" {
			continue
		}
		m := reg.ByTokenDigest(sha256.Sum256([]byte(token)))
		if m == nil { // a server on the way may have folded the address
			m = reg.ByTokenDigest(sha256.Sum256([]byte(strings.ToLower(token))))
		}
		unknown = unknown || m == nil
		a.note(PlusToken, m, Strong)
	}
	if unknown {
		a.Trace.Add(trace.Attribute, "token_unknown")
	}
}

// deliveredTo returns the addresses that our own servers wrote into h: above the border and in the border itself. Without
// a border it is the topmost field of each kind: a token is a secret wherever it stands.
func deliveredTo(h eml.Header, border int) []string {
	var found []string
	seen := make(map[string]bool)
	for i, f := range h {
		if border >= 0 && i > border {
			break
		}
		name := strings.ToLower(f.Name)
		switch name {
		case "delivered-to", "x-original-to", "envelope-to", "x-envelope-to", "received":
		default:
			continue
		}
		if border < 0 && seen[name] {
			continue
		}
		seen[name] = true
		value := string(f.Value)
		if name == "received" {
			if hit := forAddress.FindStringSubmatch(value); hit != nil {
				found = append(found, hit[1])
			}
			continue
		}
		found = append(found, strings.Trim(strings.TrimSpace(value), "<>"))
	}
	return found
}

// addresses notes the mailboxes that fields of the original name. Reading stops at a bound: no mailbox's mail is
// found by the thousandth address.
func (a *Attribution) addresses(kind Kind, reg *mailbox.Registry, h eml.Header, names ...string) {
	const most = 1000
	n := 0
	for _, name := range names {
		for _, field := range h.All(name) {
			for _, addr := range eml.ParseAddresses(field) {
				if n++; n > most {
					return
				}
				a.note(kind, reg.ByAddress(addr.Address), Weak)
			}
		}
	}
}

// decide takes the strongest evidence that names one mailbox.
func (a *Attribution) decide(reg *mailbox.Registry) {
	strong := a.named(func(e Evidence) bool { return e.Strength == Strong })
	if len(strong) > 1 {
		a.fail(receipt.EvidenceConflict)
		return
	}
	tiers := [][]Evidence{
		strong,
		a.named(func(e Evidence) bool { return e.Kind == OriginalEnv }),
		a.named(func(e Evidence) bool { return e.Kind == OriginalField }),
	}
	for _, tier := range tiers {
		if len(tier) == 0 {
			continue
		}
		if len(tier) > 1 {
			break // several of the same weight: it would be a guess
		}
		a.Recipient, a.By = reg.ByID(tier[0].MailboxID), tier[0].Kind
		break
	}
	switch {
	case a.Recipient == nil:
		a.fail(receipt.UnknownRecipient)
	case a.Recipient.Incoming != mailbox.ForwardMailbox:
		a.fail(receipt.NotForwarding)
	default:
		a.Trace.Add(trace.Attribute, "recipient", "mailbox_id", strconv.FormatInt(a.Recipient.ID, 10), "kind", string(a.By))
	}
}

// named returns the first piece of evidence for each mailbox among those that match.
func (a *Attribution) named(match func(Evidence) bool) []Evidence {
	var found []Evidence
	seen := make(map[int64]bool)
	for _, e := range a.Evidence {
		if match(e) && !seen[e.MailboxID] {
			seen[e.MailboxID] = true
			found = append(found, e)
		}
	}
	return found
}

func (a *Attribution) fail(why receipt.Reason) {
	a.Reason = why
	a.Trace.Add(trace.Attribute, "not_attributed", "reason", string(why), "evidence", strconv.Itoa(len(a.Evidence)))
}
