package classify

import (
	"regexp"
	"strings"

	"github.com/postroom/postroom/internal/eml"
)

// autoReply finds answers of machines. They share all of Exchange's markers with wrappers, so one with an original inside
// is none.
func autoReply(o *outer) (Result, bool) {
	if o.holds {
		return Result{}, false
	}
	submitted := o.autoSubmitted()
	for _, name := range []string{"X-Autoreply", "X-Auto-Reply", "X-Autorespond", "X-Autoresponder"} {
		if has(o.header, name) && !strings.EqualFold(o.header.Get(name), "no") {
			return Result{Class: AutoReply, Reason: name}, true
		}
	}
	switch {
	case submitted == "auto-replied":
		return Result{Class: AutoReply, Reason: "Auto-Submitted: auto-replied"}, true
	case submitted == "auto-generated" && contains(o.header, "X-Auto-Response-Suppress", "all") && has(o.header, "In-Reply-To"):
		return Result{Class: AutoReply, Reason: "Auto-Submitted: auto-generated, in reply to a message"}, true
	case contains(o.header, "Precedence", "auto_reply") || contains(o.header, "Precedence", "auto-reply"):
		return Result{Class: AutoReply, Reason: "Precedence: auto_reply"}, true
	case autoReplySubject.MatchString(o.header.Text("Subject")):
		return Result{Class: AutoReply, Reason: "the subject of an automatic reply", Doubtful: submitted == "" && !o.nullReturnPath()}, true
	}
	return Result{}, false
}

// autoReplySubject matches what Exchange and others put before the subject of an out-of-office reply.
var autoReplySubject = regexp.MustCompile(`(?i)^\s*(automatic reply|auto(matic)?[ -]?(reply|response|antwort)|out of (the )?office|` +
	`automatische antwort|abwesend|abwesenheit(s|:| )|réponse automatique|risposta automatica|respuesta automática|` +
	`resposta automática|automatisch antwoord|autosvar|automaattinen vastaus|odpowiedź automatyczna)`)

// autoSubmitted returns the keyword of Auto-Submitted (RFC 3834 section 5), "" where it is missing or no.
func (o *outer) autoSubmitted() string {
	keyword, _, _ := strings.Cut(strings.ToLower(o.header.Get("Auto-Submitted")), ";")
	keyword, _, _ = strings.Cut(strings.TrimSpace(keyword), " ")
	if keyword == "no" {
		return ""
	}
	return keyword
}

// ruleMade reports whether Exchange marked the message as made by a mailbox rule. Out-of-office replies carry the same
// marks, and anybody can copy them: they support another finding and decide nothing alone.
func (o *outer) ruleMade() bool {
	return has(o.header, "X-MS-Exchange-Inbox-Rules-Loop") ||
		contains(o.header, "X-MS-Exchange-Generated-Message-Source", "mailbox rules agent")
}

// ruleMadeBySender reports whether the rule belongs to the mailbox in From, as in a postmaster's own forwarding rule.
func (o *outer) ruleMadeBySender() bool {
	loop := strings.ToLower(strings.TrimSpace(o.header.Get("X-MS-Exchange-Inbox-Rules-Loop")))
	if loop == "" {
		return false
	}
	from := eml.ParseAddresses(o.header.Get("From"))
	return len(from) == 1 && strings.ToLower(from[0].Address) == strings.Trim(loop, "<>")
}

// forwardSubject matches the prefixes of forwarded mail in the languages of common clients.
var forwardSubject = regexp.MustCompile(`(?i)^\s*(\[?fwd?|wg|tr|rv|i|enc|vs|vb|doorst|pd|továbbítás)\s*(\[\d+\])?:`)

// forwarded reports whether the outer header says that something was forwarded.
func (o *outer) forwarded() bool {
	return o.ruleMade() || forwardSubject.MatchString(o.header.Text("Subject"))
}

func has(h eml.Header, name string) bool { return len(h.All(name)) > 0 }

// contains reports whether a field of that name holds word, in lower case.
func contains(h eml.Header, name, word string) bool {
	for _, v := range h.All(name) {
		if strings.Contains(strings.ToLower(v), word) {
			return true
		}
	}
	return false
}
