package imap

import (
	"errors"
	"fmt"
	"slices"

	"github.com/emersion/go-imap/v2"

	"github.com/postroom/postroom/internal/dial"
	"github.com/postroom/postroom/internal/fault"
)

// meaning is what follows from a response code.
type meaning struct {
	class fault.Class
	code  string
	hint  string
}

// meaningOf says what a response code (RFC 5530, RFC 3501 section 7.1) means.
func meaningOf(code string) meaning {
	switch imap.ResponseCode(code) {
	case imap.ResponseCodeAuthenticationFailed:
		return meaning{fault.Auth, "authentication_failed", "check user name and password of the mailbox, and whether the server wants an application password"}
	case imap.ResponseCodeAuthorizationFailed:
		return meaning{fault.Auth, "authorization_failed", "the password is good, but the account may not be used like this: check its rights on the mail server"}
	case imap.ResponseCodeExpired:
		return meaning{fault.Auth, "credentials_expired", "set a new password for the account, here and on the mail server"}
	case imap.ResponseCodePrivacyRequired:
		return meaning{fault.Permanent, "privacy_required", "set tls of the profile to implicit or starttls"}
	case imap.ResponseCodeContactAdmin:
		return meaning{fault.Permanent, "contact_admin", "ask the mail server's admin: the server says that a person must act"}
	case imap.ResponseCodeNoPerm:
		return meaning{fault.Permanent, "no_permission", "give the account the right to do this on the mail server"}
	case imap.ResponseCodeCorruption:
		return meaning{fault.Permanent, "corruption", "let the mail server's admin repair the folder"}
	case imap.ResponseCodeCannot:
		return meaning{fault.Permanent, "cannot", "the server can never do this: change the configuration of the mailbox"}
	case imap.ResponseCodeNonExistent, imap.ResponseCodeTryCreate:
		return meaning{fault.Permanent, "folder_missing", "create the folder on the mail server, or correct its name in the mailbox"}
	case imap.ResponseCodeUnavailable:
		return meaning{fault.Transient, "unavailable", "a part of the mail server is down: see its log"}
	case imap.ResponseCodeInUse:
		return meaning{fault.Transient, "in_use", "another client has the folder to itself: if it stays so, find out which"}
	case imap.ResponseCodeLimit:
		return meaning{fault.Transient, "server_limit", "raise the server's limit, or lower max_connections of the profile"}
	case imap.ResponseCodeOverQuota:
		return meaning{fault.Transient, "over_quota", "make room in the account, or raise its quota"}
	case imap.ResponseCodeServerBug:
		return meaning{fault.Transient, "server_bug", "the server says that it has a fault: see its log"}
	default:
		return meaning{fault.Transient, "refused", "see the mail server's log"}
	}
}

// refusal makes a fault of a tagged NO or BAD.
func refusal(what string, e *imap.Error) *fault.Error {
	m := meaningOf(string(e.Code))
	return fault.New(m.class, m.code, m.hint, fmt.Errorf("%s: %w", what, answer(string(e.Type), string(e.Code), e.Text)))
}

// loginRefusal is refusal for a log-in: without a code it is about the credentials.
func loginRefusal(what string, e *imap.Error) *fault.Error {
	f := refusal(what, e)
	if f.Code == "refused" && e.Type == imap.StatusResponseTypeNo {
		m := meaningOf(string(imap.ResponseCodeAuthenticationFailed))
		f.Class, f.Code, f.Hint = m.class, m.code, m.hint
	}
	return f
}

// byeFault is about a server that closes the connection with a word.
func byeFault(what string, st status) *fault.Error {
	m := meaningOf(st.code)
	if m.code == "refused" {
		m = meaning{fault.Transient, "server_bye", "the server closed the connection: its words or its log say why; often a limit of connections"}
	}
	return fault.New(m.class, m.code, m.hint, fmt.Errorf("%s: %w", what, answer("BYE", st.code, st.text)))
}

// answer is a server's words as an error.
func answer(kind, code, text string) error {
	if code != "" {
		kind += " [" + code + "]"
	}
	if text == "" {
		return fmt.Errorf("the server says %s", kind)
	}
	return fmt.Errorf("the server says %s %q", kind, dial.ServerText(text))
}

// withWarning adds what the server has told on its own.
func withWarning(err error, warning string) error {
	if warning == "" {
		return err
	}
	return fmt.Errorf("%w (the server warned: %q)", err, warning)
}

// isRefusal reports whether err is a server's plain refusal, after which the session goes on.
func isRefusal(err error, codes ...string) bool {
	f, ok := errors.AsType[*fault.Error](err)
	if !ok {
		return false
	}
	return slices.Contains(codes, f.Code)
}
