package demo

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"crypto/subtle"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"
)

const (
	pop3Line = 512             // octets of a command line; RFC 2449 section 4 asks for 255
	pop3Idle = 2 * time.Minute // between two commands, and for one answer
)

// errQuit ends a connection that has said goodbye.
var errQuit = errors.New("QUIT")

// pop3Conn is one connection. Its states are those of RFC 1939: before log-in box is nil.
type pop3Conn struct {
	server  *pop3Server
	conn    net.Conn
	in      *bufio.Reader
	out     *bufio.Writer
	secure  bool
	user    string
	box     *maildrop
	deleted map[int]bool // by index; carried out by QUIT
}

func newPOP3Conn(s *pop3Server, conn net.Conn) *pop3Conn {
	c := &pop3Conn{server: s}
	c.use(conn)
	return c
}

func (c *pop3Conn) use(conn net.Conn) {
	c.conn, c.in, c.out = conn, bufio.NewReaderSize(conn, pop3Line), bufio.NewWriter(conn)
}

// serve answers commands until QUIT, an error or the end of the connection. What was marked as deleted without QUIT stays.
func (c *pop3Conn) serve() error {
	defer func() {
		if c.box != nil {
			c.box.release()
		}
	}()
	c.ok("Postroom demo POP3")
	for {
		if c.in.Buffered() == 0 { // pipelined commands are answered together (RFC 2449 section 6.6)
			if err := c.out.Flush(); err != nil {
				return err
			}
		}
		if err := c.conn.SetDeadline(time.Now().Add(pop3Idle)); err != nil {
			return err
		}
		line, err := c.in.ReadSlice('\n')
		if err != nil {
			return err // also a line that is too long: there is nobody to be patient with
		}
		verb, args, _ := strings.Cut(strings.TrimRight(string(line), "\r\n"), " ")
		err = c.command(strings.ToUpper(verb), args)
		if errors.Is(err, errQuit) {
			return c.out.Flush()
		}
		if err != nil {
			return err
		}
	}
}

func (c *pop3Conn) ok(format string, args ...any) { c.line("+OK "+format, args...) }
func (c *pop3Conn) bad(text string)               { c.line("-ERR %s", text) }

// line writes one line; an error shows when the answer is flushed.
func (c *pop3Conn) line(format string, args ...any) {
	_, _ = fmt.Fprintf(c.out, format+"\r\n", args...)
}

func (c *pop3Conn) command(verb, args string) error {
	switch {
	case verb == "QUIT":
		return c.quit()
	case verb == "CAPA":
		c.capabilities()
	case verb == "NOOP" && c.box != nil:
		c.ok("")
	case c.box == nil:
		return c.beforeLogin(verb, args)
	default:
		c.transaction(verb, args)
	}
	return nil
}

func (c *pop3Conn) capabilities() {
	c.ok("what I can do")
	for _, name := range []string{"TOP", "UIDL", "PIPELINING", "RESP-CODES", "AUTH-RESP-CODE", "EXPIRE NEVER"} {
		c.line("%s", name)
	}
	switch {
	case c.secure:
		c.line("USER")
	default:
		c.line("STLS")
	}
	c.line(".")
}

// beforeLogin is the AUTHORIZATION state. Without TLS nobody may say a password.
func (c *pop3Conn) beforeLogin(verb, args string) error {
	switch {
	case verb == "STLS" && !c.secure:
		return c.startTLS()
	case verb == "USER" && c.secure:
		c.user = args
		c.ok("and the password?")
	case verb == "PASS" && c.secure && c.user != "":
		c.logIn(args)
	case verb == "USER" || verb == "PASS":
		c.bad("not now")
	default:
		c.bad("log in first")
	}
	return nil
}

// startTLS changes to TLS (RFC 2595 section 4). Commands that were sent behind STLS came in the clear: they are not
// obeyed.
func (c *pop3Conn) startTLS() error {
	if c.in.Buffered() > 0 {
		return errors.New("commands were sent behind STLS")
	}
	c.ok("begin TLS")
	if err := c.out.Flush(); err != nil {
		return err
	}
	conn := tls.Server(c.conn, c.server.tls)
	if err := conn.Handshake(); err != nil { //nolint:noctx // the connection has a deadline
		return err
	}
	c.use(conn)
	c.secure = true
	return nil
}

func (c *pop3Conn) logIn(password string) {
	box := c.server.drop
	same := func(a, b string) bool {
		x, y := sha256.Sum256([]byte(a)), sha256.Sum256([]byte(b))
		return subtle.ConstantTimeCompare(x[:], y[:]) == 1
	}
	switch user := c.user; {
	case !same(user, box.user) || !same(password, box.password):
		c.user = ""
		c.bad("[AUTH] wrong name or password")
	case !box.acquire():
		c.bad("[IN-USE] another session has the maildrop")
	default:
		c.box, c.deleted = box, map[int]bool{}
		c.ok("the maildrop is yours")
	}
}

func (c *pop3Conn) transaction(verb, args string) {
	switch verb {
	case "STAT":
		n, octets := 0, 0
		c.each(func(_ int, m pop3Message) { n++; octets += len(m.octets) })
		c.ok("%d %d", n, octets)
	case "LIST":
		c.list(args, func(m pop3Message) string { return strconv.Itoa(len(m.octets)) })
	case "UIDL":
		c.list(args, func(m pop3Message) string { return m.uniqueID })
	case "RETR":
		if m, _, ok := c.message(args); ok {
			c.ok("%d octets", len(m.octets))
			c.text(m.octets)
		}
	case "TOP":
		c.top(args)
	case "DELE":
		if _, i, ok := c.message(args); ok {
			c.deleted[i] = true
			c.ok("deleted when you quit")
		}
	case "RSET":
		clear(c.deleted)
		c.ok("nothing is deleted")
	default:
		c.bad("unknown command")
	}
}

// each calls f with the messages that are not deleted.
func (c *pop3Conn) each(f func(i int, m pop3Message)) {
	for i, m := range c.box.messages {
		if !c.deleted[i] {
			f(i, m)
		}
	}
}

// message finds the message with a number, and says so if there is none.
func (c *pop3Conn) message(arg string) (m pop3Message, i int, ok bool) {
	n, err := strconv.Atoi(strings.TrimSpace(arg))
	if err != nil || n < 1 || n > len(c.box.messages) || c.deleted[n-1] {
		c.bad("no such message")
		return pop3Message{}, 0, false
	}
	return c.box.messages[n-1], n - 1, true
}

// list answers LIST and UIDL, for one message or for all.
func (c *pop3Conn) list(arg string, what func(pop3Message) string) {
	if arg != "" {
		if m, i, ok := c.message(arg); ok {
			c.ok("%d %s", i+1, what(m))
		}
		return
	}
	c.ok("")
	c.each(func(i int, m pop3Message) { c.line("%d %s", i+1, what(m)) })
	c.line(".")
}

// top answers TOP: the header, the empty line and some lines of the body.
func (c *pop3Conn) top(args string) {
	number, count, _ := strings.Cut(args, " ")
	lines, err := strconv.Atoi(strings.TrimSpace(count))
	if err != nil || lines < 0 {
		c.bad("TOP needs a message and a number of lines")
		return
	}
	m, _, ok := c.message(number)
	if !ok {
		return
	}
	c.ok("")
	header, body, found := bytes.Cut(m.octets, []byte("\r\n\r\n"))
	if !found { // no body
		c.text(m.octets)
		return
	}
	end := 0
	for ; lines > 0 && end < len(body); lines-- {
		next := bytes.IndexByte(body[end:], '\n')
		if next < 0 {
			end = len(body)
			break
		}
		end += next + 1
	}
	c.text(m.octets[:len(header)+4+end])
}

// text sends lines of a message, with a dot before each that begins with one (RFC 1939 section 3).
func (c *pop3Conn) text(octets []byte) {
	for line := range bytes.Lines(octets) {
		if line[0] == '.' {
			_ = c.out.WriteByte('.') // an error shows when the answer is flushed
		}
		_, _ = c.out.Write(line)
	}
	c.line(".")
}

// quit carries the deletions out.
func (c *pop3Conn) quit() error {
	if c.box != nil {
		c.box.remove(c.deleted)
	}
	c.ok("goodbye")
	return errQuit
}
