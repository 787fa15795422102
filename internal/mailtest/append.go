package mailtest

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/postroom/postroom/internal/mailbox"
)

// Append delivers octets with IMAP APPEND over a plain socket, makes the folder if it is missing, and returns the UID.
// A zero internalDate leaves it to the server.
//
// Dovecot hands a message out as it was appended if its lines end in CRLF and it holds no NUL; it shows a bare LF as
// CRLF. To put exact octets into its store use WriteFile.
func (d *Dovecot) Append(tb testing.TB, user, folder string, octets []byte, internalDate time.Time) uint32 {
	tb.Helper()
	return d.AppendAll(tb, user, folder, [][]byte{octets}, internalDate)[0]
}

// AppendAll is Append for many messages over one connection.
func (d *Dovecot) AppendAll(tb testing.TB, user, folder string, messages [][]byte, internalDate time.Time) []uint32 {
	tb.Helper()
	w := d.Plain(tb, user)
	defer w.Close()
	if !strings.EqualFold(folder, "INBOX") {
		w.Command(fmt.Sprintf("CREATE %q", folder)) // it may exist: APPEND says if it does not
	}
	date := ""
	if !internalDate.IsZero() {
		date = internalDate.Format(`"_2-Jan-2006 15:04:05 -0700" `)
	}
	uids := make([]uint32, 0, len(messages))
	for i, octets := range messages {
		reply := w.literal(fmt.Sprintf("APPEND %q %s", folder, date), octets)
		m := appendUID.FindStringSubmatch(reply)
		if m == nil {
			tb.Fatalf("APPEND message %d of %d octets to %s: got %q, want OK [APPENDUID …]", i, len(octets), folder, reply)
		}
		uid, err := strconv.ParseUint(m[1], 10, 32)
		if err != nil {
			tb.Fatalf("APPEND: UID %q: %v", m[1], err)
		}
		uids = append(uids, uint32(uid))
	}
	return uids
}

var appendUID = regexp.MustCompile(`OK \[APPENDUID \d+ (\d+)\]`)

// WriteFile puts octets into the user's Maildir as a file, byte for byte. Dovecot shows a bare LF in it as CRLF.
// The folder must exist, but INBOX; it is made by Append or a log-in.
func (d *Dovecot) WriteFile(tb testing.TB, user, folder, name string, octets []byte) {
	tb.Helper()
	home := filepath.Join(d.dir, "mail", user)
	dir := d.Maildir(user, folder)
	for _, path := range []string{home, filepath.Join(home, "Maildir"), dir, filepath.Join(dir, "tmp"), filepath.Join(dir, "new"), filepath.Join(dir, "cur")} {
		if err := os.Mkdir(path, 0o700); err == nil {
			d.owner.own(tb, path)
		} else if !os.IsExist(err) {
			tb.Fatalf("make the Maildir: %v", err)
		}
	}
	path := filepath.Join(dir, "tmp", name)
	if err := os.WriteFile(path, octets, 0o600); err != nil {
		tb.Fatalf("write a message: %v", err)
	}
	d.owner.own(tb, path)
	if err := os.Rename(path, filepath.Join(dir, "new", name)); err != nil {
		tb.Fatalf("deliver a message: %v", err)
	}
}

// Wire is a plain IMAP connection of a test, logged in, that knows no more of the protocol than lines and literals. It
// is the yardstick for what a server really sent.
type Wire struct {
	tb   testing.TB
	conn net.Conn
	br   *bufio.Reader
	n    int
}

// Plain opens a Wire for a user made by AddUser. The test closes it, or its end does.
func (d *Dovecot) Plain(tb testing.TB, user string) *Wire {
	tb.Helper()
	d.mu.Lock()
	password, ok := d.passwords[user]
	d.mu.Unlock()
	if !ok {
		tb.Fatalf("user %q was not added", user)
	}
	conn, err := net.DialTimeout("tcp", d.Address(mailbox.IMAP), startTimeout)
	if err != nil {
		tb.Fatalf("connect to Dovecot: %v", err)
	}
	w := &Wire{tb: tb, conn: conn, br: bufio.NewReader(conn)}
	tb.Cleanup(w.Close)
	if err := conn.SetDeadline(time.Now().Add(time.Minute)); err != nil {
		tb.Fatalf("bound the connection: %v", err)
	}
	w.line()
	if reply, _ := w.Command(fmt.Sprintf("LOGIN %s %s", quote(user), quote(password))); !strings.HasPrefix(reply, "OK") {
		tb.Fatalf("log in as %s: got %q, want OK", user, reply)
	}
	return w
}

// Command sends one command and returns the tagged reply without its tag, and all before it as it was sent.
func (w *Wire) Command(command string) (reply, untagged string) {
	w.tb.Helper()
	tag := w.send(command + "\r\n")
	return w.reply(tag)
}

// Message returns the octets of BODY[] of one UID, as sent.
func (w *Wire) Message(uid uint32) []byte {
	w.tb.Helper()
	tag := w.send(fmt.Sprintf("UID FETCH %d BODY.PEEK[]\r\n", uid))
	line := w.line()
	m := literalEnd.FindStringSubmatch(line)
	if m == nil {
		w.tb.Fatalf("FETCH of UID %d: got %q, want a literal", uid, line)
	}
	n, err := strconv.Atoi(m[1])
	if err != nil {
		w.tb.Fatalf("FETCH of UID %d: size %q: %v", uid, m[1], err)
	}
	octets := make([]byte, n)
	if _, err := io.ReadFull(w.br, octets); err != nil {
		w.tb.Fatalf("FETCH of UID %d: %v", uid, err)
	}
	w.reply(tag)
	return octets
}

var literalEnd = regexp.MustCompile(`\{(\d+)\}\r\n$`)

// Close closes the connection.
func (w *Wire) Close() { _ = w.conn.Close() }

func (w *Wire) literal(command string, octets []byte) string {
	w.tb.Helper()
	tag := w.send(fmt.Sprintf("%s{%d}\r\n", command, len(octets)))
	if line := w.line(); !strings.HasPrefix(line, "+") {
		return strings.TrimPrefix(line, tag+" ")
	}
	if _, err := w.conn.Write(append(slices.Clip(octets), "\r\n"...)); err != nil {
		w.tb.Fatalf("send a literal: %v", err)
	}
	reply, _ := w.reply(tag)
	return reply
}

func (w *Wire) send(command string) (tag string) {
	w.tb.Helper()
	w.n++
	tag = fmt.Sprintf("w%d", w.n)
	if _, err := io.WriteString(w.conn, tag+" "+command); err != nil {
		w.tb.Fatalf("send a command: %v", err)
	}
	return tag
}

func (w *Wire) reply(tag string) (reply, untagged string) {
	w.tb.Helper()
	var b strings.Builder
	for {
		line := w.line()
		if rest, ok := strings.CutPrefix(line, tag+" "); ok {
			return strings.TrimRight(rest, "\r\n"), b.String()
		}
		b.WriteString(line)
	}
}

func (w *Wire) line() string {
	w.tb.Helper()
	line, err := w.br.ReadString('\n')
	if err != nil {
		w.tb.Fatalf("read from Dovecot: %v", err)
	}
	return line
}

// quote returns s as an IMAP quoted string.
func quote(s string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(s) + `"`
}
