package pop3

import (
	"bufio"
	"bytes"
	"errors"
	"io"

	"github.com/postroom/postroom/internal/dial"
)

// Bounds of what is read. RFC 2449 §4 allows 512 octets for a reply; servers exceed it.
const (
	readBuffer     = 64 << 10
	maxStatusLine  = 8 << 10
	maxListingLine = 1 << 10
)

// errRunaway is returned by wire.body for a reply that does not end within its bounds: the connection is of no use
// afterwards.
var errRunaway = errors.New("reply does not end where it should")

// wire reads replies strictly: only CRLF ends a line, and only CRLF "." CRLF ends a multi-line reply (RFC 1939 §3). A
// bare LF or a lone CR is an octet like any other, so that nothing in a message can end its reply early and have its own
// text read as the replies that follow.
type wire struct {
	r    *bufio.Reader
	long []byte // a line that does not lie in r's buffer in one piece
}

func newWire(r io.Reader) *wire { return &wire{r: bufio.NewReaderSize(r, readBuffer)} }

// line returns the next line without its CRLF; it is valid until the next call. A line longer than limit is read to its
// end, and over is true instead.
func (w *wire) line(limit int) (line []byte, over bool, err error) {
	chunk, err := w.r.ReadSlice('\n')
	if err == nil && endsCRLF(chunk) && len(chunk)-2 <= limit {
		return chunk[:len(chunk)-2], false, nil
	}
	w.long = w.long[:0]
	last := byte(0)
	for {
		if err != nil && !errors.Is(err, bufio.ErrBufferFull) {
			return nil, false, cut(err)
		}
		if len(w.long)+len(chunk) > limit+2 {
			over = true
			w.long = w.long[:0]
		}
		if !over {
			w.long = append(w.long, chunk...)
		}
		n := len(chunk)
		if err == nil && (n > 1 && chunk[n-2] == '\r' || n == 1 && last == '\r') {
			break
		}
		last = chunk[n-1]
		chunk, err = w.r.ReadSlice('\n')
	}
	if over {
		return nil, true, nil
	}
	return w.long[:len(w.long)-2], false, nil
}

// status reads the line that begins a reply.
func (w *wire) status() (reply, error) {
	line, err := w.statusLine()
	if err != nil {
		return reply{}, err
	}
	return parseReply(line)
}

// statusLine returns the line that begins a reply, without CRLF; it is valid until the next call. One that goes on and
// on is a breach of protocol.
func (w *wire) statusLine() ([]byte, error) {
	var head []byte
	for n := 1; ; n++ { // look at the line before it is all there: an endless one must not be read to its end
		if _, err := w.r.Peek(n); err != nil {
			return nil, cut(err)
		}
		peeked, _ := w.r.Peek(w.r.Buffered()) // cannot fail: it is there
		if i := bytes.IndexByte(peeked, '\n'); i >= 0 && i < maxStatusLine {
			head = peeked[:i+1]
			break
		}
		if len(peeked) >= maxStatusLine {
			return nil, violation("status line longer than %d octets", maxStatusLine)
		}
		n = len(peeked)
	}
	if _, err := w.r.Discard(len(head)); err != nil {
		return nil, cut(err)
	}
	if !endsCRLF(head) {
		return nil, violation("status line %q does not end in CRLF", dial.ServerText(string(head)))
	}
	return head[:len(head)-2], nil
}

// lines calls each with every line of a multi-line reply, without CRLF; line is nil for one longer than maxListingLine.
// It ends at the line ".", at each's error, or after limit lines.
func (w *wire) lines(limit int, each func(line []byte) error) error {
	for range limit {
		line, over, err := w.line(maxListingLine)
		switch {
		case err != nil:
			return err
		case over:
			line = nil
		case len(line) > 0 && line[0] == '.':
			if len(line) == 1 {
				return nil
			}
			line = line[1:]
		}
		if err := each(line); err != nil {
			return err
		}
	}
	return errRunaway
}

// body copies a message to dst: leading dots un-stuffed, up to and without the line "." that ends it (RFC 1939 §3). It
// returns how many octets the message has. Only the first limit of them go to dst; up to drain more are read to find the
// end, then it fails with errRunaway. A connection that ends before the message does is an error: io.ErrUnexpectedEOF.
func (w *wire) body(dst io.Writer, limit, drain int64) (octets int64, err error) {
	start, last := true, byte('\n')
	for {
		chunk, err := w.r.ReadSlice('\n')
		whole := err == nil
		if !whole && !errors.Is(err, bufio.ErrBufferFull) {
			return octets, cut(err)
		}
		n := len(chunk)
		p := chunk
		if start && p[0] == '.' {
			if n == 3 && whole && p[1] == '\r' {
				return octets, nil
			}
			p = p[1:]
		}
		if keep := min(int64(len(p)), limit-octets); keep > 0 {
			if _, err := dst.Write(p[:keep]); err != nil {
				return octets, err
			}
		}
		octets += int64(len(p))
		if octets > limit && octets-limit > drain {
			return octets, errRunaway
		}
		start = whole && (n > 1 && chunk[n-2] == '\r' || n == 1 && last == '\r')
		last = chunk[n-1]
	}
}

func endsCRLF(line []byte) bool { return bytes.HasSuffix(line, []byte("\r\n")) }

// cut makes the end of a stream what it is here: a connection that was cut.
func cut(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}
