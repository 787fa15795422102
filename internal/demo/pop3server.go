package demo

import (
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"fmt"
	"net"
	"sync"
)

// pop3Server is a small POP3 server for one maildrop (RFC 1939, 2449, 2595): USER and PASS behind STLS only, all
// commands but APOP.
type pop3Server struct {
	tls  *tls.Config
	drop *maildrop

	listener net.Listener
	wg       sync.WaitGroup
	mu       sync.Mutex
	conns    map[net.Conn]struct{}
	closed   bool
}

// pop3Message is a message in a maildrop. Its octets have CRLF line ends, and end with one.
type pop3Message struct {
	uniqueID string
	octets   []byte
}

// maildrop is messages that one session at a time may look at.
type maildrop struct {
	user, password string

	mu       sync.Mutex
	taken    bool
	messages []pop3Message // changed by the session that has taken it, at its end
}

// add puts a message in and returns its unique-id, which no other has.
func (d *maildrop) add(octets []byte) (uniqueID string) {
	sum := sha256.Sum256(octets)
	uniqueID = fmt.Sprintf("%04d.%s", len(d.messages)+1, hex.EncodeToString(sum[:8]))
	d.messages = append(d.messages, pop3Message{uniqueID: uniqueID, octets: octets})
	return uniqueID
}

func (d *maildrop) acquire() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	free := !d.taken
	d.taken = true
	return free
}

func (d *maildrop) release() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.taken = false
}

// remove takes messages out for good.
func (d *maildrop) remove(deleted map[int]bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	var kept []pop3Message
	for i, m := range d.messages {
		if !deleted[i] {
			kept = append(kept, m)
		}
	}
	d.messages = kept
}

// startPOP3 serves drop on l until close.
func startPOP3(l net.Listener, config *tls.Config, drop *maildrop) *pop3Server {
	s := &pop3Server{tls: config, drop: drop, listener: l, conns: map[net.Conn]struct{}{}}
	s.wg.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return // closed
			}
			if !s.track(conn) {
				_ = conn.Close() // the server is being closed
				return
			}
			s.wg.Go(func() {
				defer s.untrack(conn)
				_ = newPOP3Conn(s, conn).serve() // the client knows best what went wrong
			})
		}
	})
	return s
}

func (s *pop3Server) track(conn net.Conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return false
	}
	s.conns[conn] = struct{}{}
	return true
}

func (s *pop3Server) untrack(conn net.Conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.conns, conn)
	_ = conn.Close() // it has ended
}

// close ends all sessions at once and waits for them.
func (s *pop3Server) close() {
	_ = s.listener.Close() // ends Accept
	s.mu.Lock()
	s.closed = true
	for conn := range s.conns {
		_ = conn.Close() // ends its serve
	}
	s.mu.Unlock()
	s.wg.Wait()
}
