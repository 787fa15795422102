package e2e

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/postroom/postroom/internal/mailbox"
	"github.com/postroom/postroom/internal/mailtest"
)

const password = "correct horse"

// records is a file for `postroom apply` in the making.
type records struct {
	site     *site
	profiles []string
	users    []string
	queues   []string
	boxes    []string
}

// profileFor adds a profile of a Dovecot. More are further keys, "key: value".
func (r *records) profileFor(name string, d *mailtest.Dovecot, protocol mailbox.Protocol, mode mailbox.TLSMode, more ...string) {
	p := d.Profile(protocol, mode)
	if mode != mailbox.Plaintext {
		more = append(more, fmt.Sprintf("ca_file: %q", p.CAFile))
	}
	r.profile(name, protocol, p.Port, mode, more...)
}

// profile adds a profile of a server on this machine.
func (r *records) profile(name string, protocol mailbox.Protocol, port int, mode mailbox.TLSMode, more ...string) {
	r.profiles = append(r.profiles, entry(append([]string{
		"name: " + name, "protocol: " + string(protocol), "host: 127.0.0.1", fmt.Sprintf("port: %d", port),
		"tls: " + string(mode), "timeout: 20s", "poll_timeout: 80s",
	}, more...)))
}

// polled returns the keys of a mailbox that is polled every second from its first message on, with its password in a
// file of the site's.
func (r *records) polled(t *testing.T, profile, username string, more ...string) []string {
	t.Helper()
	file := r.site.write(t, "secret-"+username, password+"\n")
	return append([]string{
		"profile: " + profile, "username: " + username, fmt.Sprintf("password_file: %q", file), "start: all", "poll_interval: 1s",
	}, more...)
}

// user adds a user with a mailbox of these keys.
func (r *records) user(name, address string, keys ...string) {
	r.users = append(r.users, entry(append([]string{"name: " + name, "address: " + address}, inline(keys)...)))
}

// queue adds a queue with a mailbox of these keys.
func (r *records) queue(name, address string, keys ...string) {
	r.queues = append(r.queues, entry(append([]string{"name: " + name, "address: " + address}, inline(keys)...)))
}

// forward adds a forward mailbox.
func (r *records) forward(name, address string, keys ...string) {
	r.boxes = append(r.boxes, entry(append([]string{"name: " + name, "kind: forward", "address: " + address}, keys...)))
}

func inline(keys []string) []string {
	lines := []string{"mailbox:"}
	for _, k := range keys {
		lines = append(lines, "  "+k)
	}
	return lines
}

func entry(keys []string) string {
	return "  - " + strings.Join(keys, "\n    ") + "\n"
}

// text is the file.
func (r *records) text() string {
	var b strings.Builder
	for _, section := range []struct {
		name    string
		entries []string
	}{{"profiles", r.profiles}, {"users", r.users}, {"queues", r.queues}, {"mailboxes", r.boxes}} {
		if len(section.entries) > 0 {
			b.WriteString(section.name + ":\n" + strings.Join(section.entries, ""))
		}
	}
	return b.String()
}

// letter returns a small message that arrives now, with CRLF line ends, whose identity is its name.
func letter(name, to, text string) []byte { return letterAt(time.Now(), name, to, text) }

// letterAt returns a letter that our mail exchanger took in at a certain time. POP3 knows of no other arrival.
func letterAt(received time.Time, name, to, text string) []byte {
	return fmt.Appendf(nil, "Received: from client.example.org by mx.example.com; %s\r\n"+
		"From: Dora Dene <dora@example.org>\r\nTo: %s\r\nSubject: Letter %s\r\nMessage-ID: <%s@example.org>\r\n"+
		"Date: Sat, 3 Jan 2026 10:00:00 +0000\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n%s\r\n",
		received.UTC().Format(time.RFC1123Z), to, name, name, text)
}
