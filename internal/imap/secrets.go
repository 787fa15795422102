package imap

import (
	"encoding/base64"
	"strings"

	"github.com/postroom/postroom/internal/dial"
)

// masked stands where a secret was.
const masked = "***"

// base64Head is how much of the base64 of a secret gives it away: servers cut off the lines that they repeat.
const base64Head = 8

// secrets are what a server was told and must not be seen in its words: it may repeat a command that it does not like.
// The zero value holds none.
type secrets struct {
	whole []string // as they stand
	heads []string // beginnings of base64, hidden with all the base64 that follows
}

// secretsOf returns the password in every form in which a log-in sends it: as it is, as a quoted string, and as the base64
// of AUTHENTICATE PLAIN (RFC 4616) and LOGIN.
func secretsOf(username, password string) secrets {
	var s secrets
	if password == "" {
		return s
	}
	s.whole = append(s.whole, strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(password), password)
	for _, plain := range []string{"\x00" + username + "\x00" + password, username + "\x00" + username + "\x00" + password, password} {
		encoded := strings.TrimRight(base64.StdEncoding.EncodeToString([]byte(plain)), "=")
		s.heads = append(s.heads, encoded[:min(base64Head, len(encoded))])
	}
	return s
}

// hide returns text with what is secret masked, in capitals or not.
func (s secrets) hide(text string) string {
	var b strings.Builder
	from := 0 // not yet written
	for i := 0; i < len(text); {
		n := s.at(text[i:])
		if n == 0 {
			i++
			continue
		}
		b.WriteString(text[from:i])
		b.WriteString(masked)
		i += n
		from = i
	}
	if from == 0 {
		return text
	}
	b.WriteString(text[from:])
	return b.String()
}

// at returns how long the secret is that text begins with, 0 if there is none.
func (s secrets) at(text string) int {
	for _, secret := range s.whole {
		if hasPrefixFold(text, secret) {
			return len(secret)
		}
	}
	for _, head := range s.heads {
		if !hasPrefixFold(text, head) {
			continue
		}
		n := len(head)
		for n < len(text) && isBase64(text[n]) {
			n++
		}
		return n
	}
	return 0
}

// shown is hide, made fit for an error.
func (s secrets) shown(text string) string { return dial.ServerText(s.hide(text)) }

func hasPrefixFold(s, prefix string) bool {
	return len(s) >= len(prefix) && strings.EqualFold(s[:len(prefix)], prefix)
}

func isBase64(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '+' || c == '/' || c == '='
}
