package forward

import (
	"strings"

	"github.com/postroom/postroom/internal/eml"
	"github.com/postroom/postroom/internal/mailbox"
	"github.com/postroom/postroom/internal/receipt"
	"github.com/postroom/postroom/internal/trace"
)

// Method is what a wrapper is trusted by.
type Method string

// The methods.
const (
	ByResults  Method = "authentication_results" // our own mail exchanger authenticated the recipient's address (RFC 8601)
	ByExchange Method = "exchange_internal"      // Exchange says that the sender logged in to the organisation
	ByToken    Method = "plus_token"             // the secret plus-address, where token_suffices is set
	ByWarn     Method = "warn"                   // nothing: the policy only warns
	ByOff      Method = "off"                    // nothing: the policy does not ask
)

// Verdict says whether a wrapper may make a record.
type Verdict struct {
	Trusted       bool
	Method        Method         // "" if it is not trusted
	Authenticated bool           // evidence was found, not only a lax policy
	Reason        receipt.Reason // untrusted, or ""
	Trace         trace.Trace
}

// Trust decides by the forward mailbox's policy whether outer may make a record for a.Recipient. An unset policy is
// enforce. Under every policy but off the evidence is looked for and noted.
//
// A recipient who is not known is never trusted under enforce; that it is quarantined under the others is for the
// caller, who has a.Reason.
func Trust(outer *eml.Message, forward *mailbox.Mailbox, a Attribution) Verdict {
	var v Verdict
	if forward.Trust == mailbox.Off {
		v.Trusted, v.Method = true, ByOff
		v.Trace.Add(trace.Trust, "trust_off")
		return v
	}
	v.Method = v.authenticate(outer, forward, &a)
	v.Authenticated = v.Method != ""
	switch {
	case v.Authenticated:
		v.Trusted = true
		v.Trace.Add(trace.Trust, "trusted", "method", string(v.Method))
	case forward.Trust == mailbox.Warn:
		v.Trusted, v.Method = true, ByWarn
		v.Trace.Add(trace.Trust, "trust_warn")
	default:
		v.Reason = receipt.Untrusted
		v.Trace.Add(trace.Trust, "untrusted")
	}
	return v
}

// authenticate returns the strongest method that holds, or "".
func (v *Verdict) authenticate(outer *eml.Message, forward *mailbox.Mailbox, a *Attribution) Method {
	if a.Recipient == nil {
		v.Trace.Add(trace.Trust, "no_recipient")
		return ""
	}
	if cutHeader(outer) {
		v.Trace.Add(trace.Trust, "header_not_whole")
		return ""
	}
	switch {
	case v.byResults(outer.Root.Header, forward, a.Recipient):
		return ByResults
	case v.byExchange(outer.Root.Header, forward):
		if a.By != PlusToken && a.By != OuterFrom { // anyone inside could have written what names the recipient
			v.Trace.Add(trace.Trust, "attribution_weak", "kind", string(a.By))
			return ""
		}
		return ByExchange
	case a.By == PlusToken && forward.TokenSuffices:
		return ByToken
	}
	return ""
}

// byResults reports whether our own mail exchanger authenticated the sender, and the sender is the recipient mailbox: a
// stranger's own domain passes just as well.
func (v *Verdict) byResults(h eml.Header, forward *mailbox.Mailbox, recipient *mailbox.Mailbox) bool {
	if forward.Profile == nil || forward.Profile.AuthservID == "" {
		return false
	}
	id := forward.Profile.AuthservID
	from, ok := soleSender(h)
	if !ok {
		v.Trace.Add(trace.Trust, "from_ambiguous")
		return false
	}
	value, found := topResults(h, id, border(h, forward.Profile.MXHosts))
	if !found {
		v.Trace.Add(trace.Trust, "results_absent", "authserv_id", id)
		return false
	}
	method, ok := passes(value, domainOf(from))
	if !ok {
		v.Trace.Add(trace.Trust, "results_no_pass", "authserv_id", id, "domain", domainOf(from))
		return false
	}
	v.Trace.Add(trace.Trust, "results_pass", "authserv_id", id, "method", method, "domain", domainOf(from))
	if !recipient.HasAddress(from) {
		v.Trace.Add(trace.Trust, "sender_not_recipient", "from", from)
		return false
	}
	return true
}

// byExchange reports whether Exchange stamped the message as sent from inside, on a server that removes such stamps
// from what comes from outside. X-MS-Exchange-CrossTenant-AuthAs says nothing: the sending tenant writes it.
func (v *Verdict) byExchange(h eml.Header, forward *mailbox.Mailbox) bool {
	if forward.Profile == nil || !forward.Profile.Exchange {
		return false
	}
	const name = "X-MS-Exchange-Organization-AuthAs"
	stamps := 0
	internal := false
	for _, f := range h {
		if !strings.EqualFold(f.Name, name) {
			continue
		}
		stamps++
		internal = named(f, name) && strings.EqualFold(strings.TrimSpace(string(f.Value)), "Internal")
	}
	switch {
	case stamps > 1: // one of them came past the header firewall
		v.Trace.Add(trace.Trust, "authas_twice")
		return false
	case !internal:
		v.Trace.Add(trace.Trust, "authas_not_internal")
		return false
	}
	v.Trace.Add(trace.Trust, "authas_internal")
	return true
}

// cutHeader reports whether fields of the outer header were left out because there are too many: what is missing may
// be the one that contradicts.
func cutHeader(m *eml.Message) bool {
	for _, d := range m.Defects {
		if d.Code == eml.DefectHeaderLimit && d.Path == "" {
			return true
		}
	}
	return false
}
