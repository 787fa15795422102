package pop3

import (
	"bytes"
	"fmt"
	"strings"

	"github.com/postroom/postroom/internal/dial"
	"github.com/postroom/postroom/internal/fault"
)

// reply is the first line of an answer.
type reply struct {
	ok        bool
	challenge bool   // "+": the server waits for SASL data (RFC 5034)
	code      string // of RFC 2449 §8 and RFC 3206, upper case, without brackets; "" if there is none
	text      string // of a refusal, as the server sent it, with its code
}

// parseReply reads a status line without its CRLF.
func parseReply(line []byte) (reply, error) {
	status, rest, _ := bytes.Cut(line, []byte(" "))
	r := reply{}
	switch string(status) {
	case "+OK":
		return reply{ok: true}, nil
	case "-ERR":
	case "+":
		r.challenge = true
	default:
		return reply{}, violation("%q is neither +OK nor -ERR", dial.ServerText(string(line)))
	}
	r.text = strings.TrimSpace(string(rest))
	if code, _, found := strings.Cut(r.text, "]"); found && strings.HasPrefix(code, "[") {
		r.code = strings.ToUpper(code[1:])
	}
	return r, nil
}

// temporary reports whether the server says that it would answer otherwise later.
func (r reply) temporary() bool {
	switch r.code {
	case "IN-USE", "LOGIN-DELAY", "SYS/TEMP":
		return true
	}
	return false
}

// noSuchMessage reports whether the text of a refusal says that the message is gone. RFC 1939 has no code for it.
func (r reply) noSuchMessage() bool {
	text := strings.ToLower(r.text)
	for _, phrase := range []string{
		"no such message", "no such msg", "there's no message", "there is no message", "message not found", "no message with", "no message number",
		"does not exist", "doesn't exist", "already deleted", "has been deleted", "is deleted", "expunged",
		"invalid message number", "out of range",
	} {
		if strings.Contains(text, phrase) {
			return true
		}
	}
	return false
}

// maildropLocked reports whether the text of a refused log-in speaks of a lock, as servers without response codes do.
func (r reply) maildropLocked() bool {
	text := strings.ToLower(r.text)
	drop := strings.Contains(text, "maildrop") || strings.Contains(text, "mailbox") || strings.Contains(text, "mail drop")
	return drop && (strings.Contains(text, "lock") || strings.Contains(text, "in use") || strings.Contains(text, "busy"))
}

// fault returns the error for a refused command, classed by its response code (RFC 2449 §8.1, RFC 3206), otherwise as
// the caller says. hide are secrets that a server may have echoed.
func (r reply) fault(doing string, class fault.Class, code, hint string, hide ...string) error {
	switch r.code {
	case "AUTH":
		class, code, hint = fault.Auth, "authentication_failed", hintAuth
	case "IN-USE":
		class, code, hint = fault.Transient, "in_use", "another client has the maildrop open: it is tried again later"
	case "LOGIN-DELAY":
		class, code, hint = fault.Transient, "login_delay", "the server wants longer pauses between log-ins: raise the poll interval"
	case "SYS/TEMP":
		class, code, hint = fault.Transient, "unavailable", "the server has a passing problem: it is tried again later"
	case "SYS/PERM":
		class, code, hint = fault.Permanent, "contact_admin", "the server needs its administrator"
	}
	said := r.text
	for _, secret := range hide {
		if secret != "" {
			said = strings.ReplaceAll(said, secret, "***")
		}
	}
	return fault.New(class, code, hint, fmt.Errorf("%s: server said -ERR %s", doing, dial.ServerText(said)))
}

const hintAuth = "check user name and password of the mailbox, and that POP3 is allowed for the account; a server may also demand TLS first"

const codeProtocol = "protocol_error"

// violation returns the error for a server that does not speak POP3.
func violation(format string, args ...any) error {
	return fault.New(fault.Transient, codeProtocol,
		"the server does not speak POP3 as it should: check host, port and TLS mode, and any proxy in between",
		fmt.Errorf(format, args...))
}
