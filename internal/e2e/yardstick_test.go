package e2e

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"

	"github.com/postroom/postroom/internal/mailbox"
	"github.com/postroom/postroom/internal/mailtest"
)

// sum is the sha256 of octets in hexadecimal digits, as the tests name messages.
func sum(octets []byte) string {
	s := sha256.Sum256(octets)
	return hex.EncodeToString(s[:])
}

// overIMAP returns what a plain socket gets of each message of a folder, by UID.
func overIMAP(t *testing.T, d *mailtest.Dovecot, user, folder string) map[int64][]byte {
	t.Helper()
	w := d.Plain(t, user)
	defer w.Close()
	if reply, _ := w.Command(fmt.Sprintf("EXAMINE %q", folder)); !strings.HasPrefix(reply, "OK") {
		t.Fatalf("EXAMINE %s: got %q, want OK", folder, reply)
	}
	_, untagged := w.Command("UID SEARCH ALL")
	messages := map[int64][]byte{}
	for line := range strings.Lines(untagged) {
		rest, ok := strings.CutPrefix(strings.TrimSpace(line), "* SEARCH")
		if !ok {
			continue
		}
		for word := range strings.FieldsSeq(rest) {
			uid, err := strconv.ParseUint(word, 10, 32)
			if err != nil {
				t.Fatalf("SEARCH: UID %q: %v", word, err)
			}
			messages[int64(uid)] = w.Message(uint32(uid))
		}
	}
	return messages
}

// overPOP3 returns what a plain socket gets of each message of a maildrop, by unique-id.
func overPOP3(t *testing.T, d *mailtest.Dovecot, user, password string) map[string][]byte {
	t.Helper()
	conn, err := net.DialTimeout("tcp", d.Address(mailbox.POP3), 10*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	if err := conn.SetDeadline(time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	p := popWire{t: t, w: conn, r: bufio.NewReader(conn)}
	p.ok()
	p.command("USER " + user)
	p.command("PASS " + password)
	p.command("UIDL")
	ids := map[string]string{}
	for line := range bytes.Lines(p.lines()) {
		number, id, found := strings.Cut(strings.TrimRight(string(line), "\r\n"), " ")
		if !found {
			t.Fatalf("UIDL: got %q, want a number and a unique-id", line)
		}
		ids[number] = id
	}
	messages := map[string][]byte{}
	for number, id := range ids {
		p.command("RETR " + number)
		messages[id] = p.lines()
	}
	p.command("QUIT")
	return messages
}

// popWire knows no more of POP3 than status lines and multi-line replies (RFC 1939 section 3).
type popWire struct {
	t *testing.T
	w io.Writer
	r *bufio.Reader
}

func (p *popWire) command(c string) {
	p.t.Helper()
	if _, err := io.WriteString(p.w, c+"\r\n"); err != nil {
		p.t.Fatal(err)
	}
	p.ok()
}

func (p *popWire) ok() {
	p.t.Helper()
	line, err := p.r.ReadString('\n')
	if err != nil || !strings.HasPrefix(line, "+OK") {
		p.t.Fatalf("POP3: got %q, %v, want +OK", line, err)
	}
}

// lines reads a multi-line reply without its last line, dots un-stuffed.
func (p *popWire) lines() []byte {
	p.t.Helper()
	var all bytes.Buffer
	for {
		line, err := p.r.ReadBytes('\n')
		if err != nil {
			p.t.Fatalf("POP3: %v", err)
		}
		if string(line) == ".\r\n" {
			return all.Bytes()
		}
		all.Write(bytes.TrimPrefix(line, []byte(".")))
	}
}

// kept returns the octets of a raw row, put together from its chunks by the test itself.
func (s *site) kept(t *testing.T, rawID int64) []byte {
	t.Helper()
	dec, err := zstd.NewReader(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer dec.Close()
	var octets []byte
	for _, chunk := range all[[]byte](t, s, `SELECT data FROM raw_chunk WHERE raw_id = $1 ORDER BY ordinal`, rawID) {
		if octets, err = dec.DecodeAll(chunk, octets); err != nil {
			t.Fatalf("raw %d: %v", rawID, err)
		}
	}
	return octets
}

// keptSums returns the sha256 of all octets that are kept, made from the chunks and compared with what the rows say.
func (s *site) keptSums(t *testing.T) map[string]bool {
	t.Helper()
	sums := map[string]bool{}
	for _, id := range all[int64](t, s, `SELECT raw_id FROM raw WHERE state = 'stored'`) {
		octets := s.kept(t, id)
		got := sum(octets)
		if want := one[string](t, s, `SELECT encode(sha256, 'hex') FROM raw WHERE raw_id = $1 AND octets = $2`, id, len(octets)); got != want {
			t.Errorf("raw %d: sha256 of its %d octets: got %s, want %s", id, len(octets), got, want)
		}
		sums[got] = true
	}
	return sums
}

func procFile(pid int, name string) string {
	return filepath.Join("/proc", strconv.Itoa(pid), name)
}

// statusKiB returns a value of /proc/PID/status.
func statusKiB(t *testing.T, status, name string) int64 {
	t.Helper()
	for line := range strings.Lines(status) {
		rest, ok := strings.CutPrefix(line, name+":")
		if !ok {
			continue
		}
		n, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(rest), " kB"), 10, 64)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		return n
	}
	t.Fatalf("%s is not in the process's status", name)
	return 0
}
