package imap

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
)

// Limits of one response, in octets without its literals, and of the nesting of what is in it.
const (
	maxResponse = 64 << 10
	maxSearch   = 16 << 20 // SEARCH, which is one line however many messages there are
	maxNesting  = 64
)

var (
	errResponse = errors.New("a response is longer than allowed")
	errLine     = errors.New("a line is neither a response nor the end of a command")
	errNesting  = errors.New("a response is nested deeper than allowed")
	errFetch    = errors.New("a FETCH response is malformed after its literal")
)

// want says what the command that is under way is answered with. Everything else that a server may send unasked is
// dropped.
type want struct {
	fetch, body, list, search bool
}

// seen is what a filter noticed while it read on behalf of the client.
type seen struct {
	preauth   bool
	bye       *status // the last BYE
	warning   string  // the last ALERT, or untagged NO or BAD
	dropped   int     // untagged responses that nobody asked for
	malformed int     // FETCH responses that could not be read
	noUID     int     // FETCH responses without a legible UID that were to have one
	searches  int     // SEARCH responses that were asked for
	bare      int     // other FETCH responses without the UID: changed flags, as a rule
}

// filter reads a server's responses and hands out those that the client library understands and was asked for, made
// regular. The library closes the connection on a response that it does not know, recurses as deep as a server likes,
// and waits for ever when a read fails inside a literal. So: status responses lose the codes that nobody needs, FETCH
// responses hold nothing but UID, RFC822.SIZE, INTERNALDATE and the body that was asked for, and every failure is
// io.EOF to the library, while the filter keeps the reason.
//
// Literals of bodies pass through uncopied. Read is called by one goroutine; the other methods by any.
type filter struct {
	secrets secrets // hidden in what the server says; set before the first Read

	br  *bufio.Reader
	seg []byte // a segment that did not fit br
	out []byte // to be handed out
	pos int

	mode    mode
	room    int   // text octets that the response may still have
	literal int64 // octets of a literal that are still to come
	pass    bool  // hand the literal out
	begun   bool  // the greeting has come
	item    fetchState

	mu     sync.Mutex
	want   want
	frozen bool // capabilities stay as they are
	seen   seen
	err    error
}

// mode is where in a response the filter is.
type mode int

const (
	atStart mode = iota // before a response
	inFetch             // after a literal in a FETCH response
	inList              // after a literal in a LIST response
	inDrop              // after a literal in a response that is dropped
)

func newFilter(r io.Reader) *filter { return &filter{br: bufio.NewReaderSize(r, 16<<10)} }

// expect says what the next command is answered with.
func (f *filter) expect(w want) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.want = w
}

// freeze makes the capabilities final.
func (f *filter) freeze() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.frozen = true
}

// notes returns what was seen so far.
func (f *filter) notes() seen {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.seen
}

// failure returns why reading ended; nil if it did not.
func (f *filter) failure() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.err
}

func (f *filter) note(change func(*seen)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change(&f.seen)
}

func (f *filter) wanted() want {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.want
}

func (f *filter) fail(err error) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.err == nil {
		f.err = err
	}
	return 0, io.EOF
}

// Read hands out filtered octets. Its only error is io.EOF; failure has the reason.
func (f *filter) Read(p []byte) (int, error) {
	for {
		if f.failure() != nil {
			return 0, io.EOF
		}
		if hold := f.mode == inFetch && !f.pass; !hold { // the rest of a response may take back what there is of it
			if f.pos < len(f.out) {
				n := copy(p, f.out[f.pos:])
				f.pos += n
				return n, nil
			}
			f.out, f.pos = f.out[:0], 0
		}
		if f.literal > 0 {
			n, err := f.throughLiteral(p)
			if err != nil {
				return f.fail(err)
			}
			if n > 0 {
				return n, nil
			}
			continue
		}
		seg, err := f.segment()
		if err != nil {
			return f.fail(err)
		}
		if err := f.response(seg); err != nil {
			return f.fail(err)
		}
	}
}

// throughLiteral hands out, or drops, octets of the literal.
func (f *filter) throughLiteral(p []byte) (int, error) {
	if !f.pass {
		n, err := f.br.Discard(int(min(f.literal, 1<<20)))
		f.literal -= int64(n)
		return 0, err
	}
	if int64(len(p)) > f.literal {
		p = p[:f.literal]
	}
	n, err := f.br.Read(p)
	f.literal -= int64(n)
	if n > 0 {
		return n, nil // an error comes again
	}
	return 0, err
}

// segment reads text up to the end of its line, without it. It is valid until the next call.
func (f *filter) segment() ([]byte, error) {
	if f.mode == atStart {
		f.room = maxResponse
	}
	f.seg = f.seg[:0]
	for {
		part, err := f.br.ReadSlice('\n')
		if err == nil && len(f.seg) == 0 && len(part) <= f.room {
			f.room -= len(part)
			return bytes.TrimRight(part, "\r\n"), nil
		}
		if err != nil && !errors.Is(err, bufio.ErrBufferFull) {
			return nil, err
		}
		if f.mode == atStart && len(f.seg) == 0 && len(part) > len("* SEARCH ") && strings.EqualFold(string(part[:len("* SEARCH ")]), "* SEARCH ") {
			f.room = maxSearch
		}
		if f.room -= len(part); f.room < 0 {
			return nil, errResponse
		}
		f.seg = append(f.seg, part...)
		if err == nil {
			return bytes.TrimRight(f.seg, "\r\n"), nil
		}
	}
}

// response takes one segment: a response, or what comes of one after a literal.
func (f *filter) response(seg []byte) error {
	switch f.mode {
	case inFetch:
		return f.fetch(seg)
	case inList:
		return f.list(seg)
	case inDrop:
		f.drop(seg)
		return nil
	case atStart:
	}
	rest, untagged := bytes.CutPrefix(seg, []byte("* "))
	switch {
	case len(bytes.TrimSpace(seg)) == 0:
		return nil // QUIRK: blank lines, seen after literals
	case untagged:
		return f.untagged(rest)
	case seg[0] == '+':
		f.emit(string(seg), "\r\n")
	default:
		return f.tagged(seg)
	}
	return nil
}

func (f *filter) untagged(rest []byte) error {
	word, rest := cutWord(rest)
	number := ""
	if _, ok := number32(string(word)); ok {
		number = string(word)
		word, rest = cutWord(rest)
	}
	w := f.wanted()
	switch kind := strings.ToUpper(string(word)); {
	case number == "" && isStatus(kind):
		f.untaggedStatus(kind, string(rest))
	case number == "" && kind == "CAPABILITY":
		if caps := f.capabilities(string(rest)); caps != "" {
			f.emit("* CAPABILITY ", caps, "\r\n")
		}
	case number != "" && kind == "EXISTS":
		f.emit("* ", number, " EXISTS\r\n")
	case number == "" && kind == "SEARCH" && w.search:
		f.note(func(s *seen) { s.searches++ })
		f.emit("* SEARCH")
		if rest = bytes.TrimSpace(rest); len(rest) > 0 {
			f.emit(" ", string(rest))
		}
		f.emit("\r\n")
	case number == "" && kind == "LIST" && w.list:
		f.emit("* LIST ")
		f.item = fetchState{}
		return f.list(rest)
	case number != "" && kind == "FETCH" && w.fetch:
		f.item = fetchState{number: number, body: w.body}
		return f.fetch(rest)
	default:
		f.note(func(s *seen) { s.dropped++ })
		f.drop(rest)
	}
	return nil
}

// list passes a segment of a LIST response on.
func (f *filter) list(seg []byte) error {
	f.mode = atStart
	for i := 0; i < len(seg); i++ {
		switch seg[i] {
		case '"':
			end := quotedEnd(seg[i:])
			if end < 0 {
				i = len(seg)
				continue
			}
			i += end - 1
		case '(':
			if f.item.nesting++; f.item.nesting > maxNesting {
				return errNesting
			}
		case ')':
			f.item.nesting--
		}
	}
	f.emit(string(seg), "\r\n")
	if n, ok := literalOf(seg); ok {
		if n > int64(f.room) {
			return fmt.Errorf("a folder's name: %w", errResponse)
		}
		f.room -= int(n)
		f.mode, f.literal, f.pass = inList, n, true
	}
	return nil
}

// drop passes over a segment, and over the literal that it may end in.
func (f *filter) drop(seg []byte) {
	f.mode = atStart
	if n, ok := literalOf(seg); ok {
		f.mode, f.literal, f.pass = inDrop, n, false
	}
}

func (f *filter) emit(parts ...string) {
	for _, part := range parts {
		f.out = append(f.out, part...)
	}
}
