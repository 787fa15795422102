package apply

import (
	"net/mail"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"github.com/postroom/postroom/internal/mailbox"
)

// name reads a record's name.
func (v value) name() string {
	s := v.str()
	if len(s) > 200 {
		v.wrong("shorten it", "is longer than 200 octets")
	}
	return s
}

// address reads an addr-spec (RFC 5322 section 3.4.1).
func (v value) address() string {
	s := v.str()
	if s == "" {
		return ""
	}
	a, err := mail.ParseAddress("<" + s + ">")
	if err != nil || a.Address != s || len(s) > 320 {
		v.wrong("write it as name@example.com, without a display name", "%s is not an e-mail address", quote(s))
		return ""
	}
	if folded := mailbox.FoldAddress(s); folded != strings.ToLower(folded) {
		v.wrong("write it in lower case", "%s has capital letters outside of A-Z", quote(s))
		return ""
	}
	return s
}

func (d *Desired) profile(v value) {
	p := mailbox.Profile{
		TLS: mailbox.ImplicitTLS, MaxConnections: 10, Timeout: time.Minute, PollTimeout: 15 * time.Minute, MaxOctets: 50 << 20,
	}
	seen := v.mapping(keys{
		"name":            func(v value) { p.Name = v.name() },
		"protocol":        func(v value) { p.Protocol = oneOf(v, mailbox.IMAP, mailbox.POP3) },
		"host":            func(v value) { p.Host = v.host() },
		"port":            func(v value) { p.Port = v.integer(1, 65535) },
		"tls":             func(v value) { p.TLS = oneOf(v, mailbox.ImplicitTLS, mailbox.StartTLS, mailbox.Plaintext) },
		"ca_file":         func(v value) { p.CAFile = v.path() },
		"max_connections": func(v value) { p.MaxConnections = v.integer(1, 300) },
		"timeout":         func(v value) { p.Timeout = v.duration(time.Second, time.Hour) },
		"poll_timeout":    func(v value) { p.PollTimeout = v.duration(time.Second, 24*time.Hour) },
		"max_octets":      func(v value) { p.MaxOctets = v.size(1<<10, 1<<30) },
		"authserv_id":     func(v value) { p.AuthservID = v.str() },
		"mx_hosts":        func(v value) { p.MXHosts = v.strs() },
		"exchange":        func(v value) { p.Exchange = v.boolean() },
	})
	v.need(seen, "name", "protocol", "host")
	if _, given := seen["port"]; !given {
		p.Port = defaultPort(p.Protocol, p.TLS)
	}
	if p.TLS == mailbox.Plaintext && p.CAFile != "" {
		v.problems.add(seen["ca_file"], "remove one of the two", "has no meaning with tls: plaintext")
	}
	if p.PollTimeout < p.Timeout && p.PollTimeout > 0 {
		at, given := seen["poll_timeout"]
		if !given {
			at = seen["timeout"]
		}
		v.problems.add(at, "raise poll_timeout or lower timeout", "a poll (poll_timeout) is shorter than one command of it (timeout)")
	}
	d.profiles = append(d.profiles, wantProfile{at: v.at, profile: p})
}

// defaultPort is the registered one.
func defaultPort(p mailbox.Protocol, tls mailbox.TLSMode) int {
	switch {
	case p == mailbox.IMAP && tls == mailbox.ImplicitTLS:
		return 993
	case p == mailbox.IMAP:
		return 143
	case tls == mailbox.ImplicitTLS:
		return 995
	}
	return 110
}

func (v value) host() string {
	s := v.str()
	if s != "" && !regexp.MustCompile(`^[\pL\pN._:-]+$`).MatchString(s) {
		v.wrong("write the host name or address alone: imap.example.com", "%s is not a host name", quote(s))
		return ""
	}
	return s
}

// path reads an absolute path. What stands there is not repeated: it may be a password that was written to the wrong key.
func (v value) path() string {
	s := v.str()
	if s != "" && !filepath.IsAbs(s) {
		v.wrong("write the whole path of a file: /etc/postroom/secrets/…", "is not an absolute path")
		return ""
	}
	return s
}

// need notes keys that are left out.
func (v value) need(seen map[string]place, required ...string) {
	if len(seen) == 0 && v.node.Content == nil {
		return // that it is no mapping was said
	}
	for _, key := range required {
		if _, ok := seen[key]; !ok {
			at := v.at
			at.key = strings.TrimPrefix(at.key+"."+key, ".")
			v.problems.add(at, "add it", "is missing")
		}
	}
}

func (d *Desired) user(v value) {
	u := wantUser{at: v.at}
	var inline value
	seen := v.mapping(keys{
		"name":    func(v value) { u.name = v.name() },
		"address": func(v value) { u.address = v.address() },
		"mailbox": func(v value) { inline = v },
	})
	v.need(seen, "name", "address")
	d.users = append(d.users, u)
	if inline.node != nil {
		d.mailbox(inline, wantMailbox{user: u.name, mailbox: mailbox.Mailbox{Kind: mailbox.User, Name: u.name, Address: u.address}})
	}
}

func (d *Desired) queue(v value) {
	q := wantQueue{at: v.at}
	var inline value
	seen := v.mapping(keys{
		"name":    func(v value) { q.name = v.name() },
		"address": func(v value) { q.address = v.address() },
		"owner":   func(v value) { q.owner, q.ownerAt = v.name(), v.at },
		"mailbox": func(v value) { inline = v },
	})
	v.need(seen, "name", "address")
	d.queues = append(d.queues, q)
	if inline.node != nil {
		d.mailbox(inline, wantMailbox{queue: q.name, mailbox: mailbox.Mailbox{Kind: mailbox.Queue, Name: q.name, Address: q.address}})
	}
}
