package pop3

import (
	"context"
	"strconv"
)

// pipe is a run of like commands.
type pipe struct {
	count   int
	command func(b []byte, i int) []byte // appends command i, without CRLF
	octets  func(i int) (expected, bound int64)
	read    func(i int) error // reads reply i; an error ends the session
	then    func(i int) error // what is done with it, outside of the server's deadline; may be nil
}

// run sends the commands, up to pipelineDepth ahead of the replies where the server allows it (RFC 2449 §6.6). An error
// of then ends the session if replies are still to come.
func (s *Session) run(ctx context.Context, p pipe) error {
	depth := 1
	if s.can("PIPELINING") {
		depth = pipelineDepth
	}
	var b []byte
	sent := 0
	for i := range p.count {
		expected, bound := p.octets(i)
		err := s.op(ctx, s.patience(expected), bound, func() error {
			if sent-i <= depth/2 { // refilled by halves: fewer, larger writes
				b = b[:0]
				for ; sent < min(i+depth, p.count); sent++ {
					b = append(p.command(b, sent), '\r', '\n')
				}
				if _, err := s.conn.Write(b); err != nil {
					return err
				}
			}
			return p.read(i)
		})
		if err != nil {
			return err
		}
		if p.then == nil {
			continue
		}
		if err := p.then(i); err != nil {
			if sent > i+1 {
				s.drop()
			}
			return err
		}
	}
	return nil
}

// numbered appends a command about one message.
func numbered(b []byte, verb string, number int) []byte {
	return strconv.AppendInt(append(append(b, verb...), ' '), int64(number), 10)
}

// oneLine is the octets of a reply of one line.
func oneLine(int) (expected, bound int64) { return 0, simpleOctets }
