package imap

import (
	"bytes"
	"strconv"
	"strings"
	"time"
)

// fetchState is where in a FETCH response (RFC 3501 section 7.4.2) the filter is.
type fetchState struct {
	number  string // message sequence number
	body    bool   // a body was asked for
	begun   bool   // the list of items has begun
	kept    int    // items handed out
	uid     bool   // among them the UID
	content bool   // there was a body or what a listing asks for, legible or not
	passed  bool   // a part of the response was handed out before its end was seen
	nesting int    // inside the value of an item that is dropped
}

// fetch takes a segment of a FETCH response and hands out the items that are wanted.
func (f *filter) fetch(seg []byte) error {
	f.mode = atStart
	rest := seg
	if !f.item.begun {
		list, ok := bytes.CutPrefix(bytes.TrimLeft(seg, " "), []byte("("))
		if !ok {
			return f.badFetch(seg)
		}
		f.item.begun, rest = true, list
	}
	for {
		if f.item.nesting > 0 {
			after, state, err := f.skipNested(rest)
			if err != nil {
				return err
			}
			switch state {
			case skipped:
			case skippedToLiteral:
				return nil
			case unreadable:
				return f.badFetch(seg)
			}
			rest = after
		}
		rest = bytes.TrimLeft(rest, " ")
		if len(rest) == 0 {
			return f.badFetch(seg)
		}
		if rest[0] == ')' {
			if len(bytes.TrimSpace(rest[1:])) > 0 {
				return f.badFetch(seg)
			}
			f.endFetch()
			return nil
		}
		name, value, ok := cutItemName(rest)
		if !ok {
			return f.badFetch(seg)
		}
		after, state := f.fetchItem(name, value)
		switch state {
		case skipped:
		case skippedToLiteral:
			return nil
		case unreadable:
			return f.badFetch(seg)
		}
		rest = after
	}
}

// progress says how a part of a FETCH response was read.
type progress int

const (
	skipped          progress = iota // it was read, and there is more in the segment
	skippedToLiteral                 // the segment ends in a literal
	unreadable
)

// fetchItem takes the value of one item, and hands it out if it is wanted.
func (f *filter) fetchItem(name string, value []byte) (rest []byte, state progress) {
	if len(value) == 0 {
		return nil, unreadable
	}
	body := f.item.body && isBody(name)
	if name == "UID" || name == "RFC822.SIZE" || name == "INTERNALDATE" {
		f.item.content = true // whatever its value
	}
	switch value[0] {
	case '(':
		f.item.nesting = 1
		return value[1:], skipped
	case '{':
		n, ok := literalSize(value)
		if !ok {
			return nil, unreadable
		}
		if body {
			f.keep(name, string(value))
			f.emit("\r\n")
			f.item.content, f.item.passed = true, true
		}
		f.mode, f.literal, f.pass = inFetch, n, body
		return nil, skippedToLiteral
	case '"':
		end := quotedEnd(value)
		if end < 0 {
			return nil, unreadable
		}
		quoted := string(value[:end])
		if body || (name == "INTERNALDATE" && isDateTime(quoted)) {
			f.keep(name, quoted)
			f.item.content = f.item.content || body
		}
		return value[end:], skipped
	}
	end := bytes.IndexAny(value, " ()\"{")
	if end < 0 {
		return nil, unreadable // a response ends in ")"
	}
	f.keepAtom(name, string(value[:end]), body)
	return value[end:], skipped
}

func (f *filter) keepAtom(name, atom string, body bool) {
	switch name {
	case "UID":
		if n, ok := number32(atom); ok && n > 0 && !f.item.uid {
			f.keep(name, atom)
			f.item.uid = true
		}
	case "RFC822.SIZE":
		if _, err := strconv.ParseInt(atom, 10, 64); err == nil && isNumber(atom) {
			f.keep(name, atom)
		}
	default:
		if body && strings.EqualFold(atom, "NIL") {
			f.keep(name, "NIL")
			f.item.content = true
		}
	}
}

func (f *filter) keep(name, value string) {
	if f.item.kept == 0 {
		f.emit("* ", f.item.number, " FETCH (")
	} else {
		f.emit(" ")
	}
	f.emit(name, " ", value)
	f.item.kept++
}

func (f *filter) endFetch() {
	if f.item.kept > 0 {
		f.emit(")\r\n")
	}
	if f.item.uid {
		return
	}
	f.note(func(s *seen) {
		if f.item.content {
			s.noUID++
		} else {
			s.bare++
		}
	})
}

// badFetch drops a FETCH response that cannot be read. If the client has begun to read it, the connection is over.
func (f *filter) badFetch(seg []byte) error {
	f.note(func(s *seen) { s.malformed++ })
	if f.item.passed {
		return errFetch
	}
	f.out = f.out[:f.pos]
	f.drop(seg)
	return nil
}

// skipNested passes over the rest of a parenthesised value.
func (f *filter) skipNested(b []byte) (rest []byte, state progress, err error) {
	for i := 0; i < len(b); i++ {
		switch b[i] {
		case '"':
			end := quotedEnd(b[i:])
			if end < 0 {
				return nil, unreadable, nil
			}
			i += end - 1
		case '(':
			if f.item.nesting++; f.item.nesting > maxNesting {
				return nil, unreadable, errNesting
			}
		case ')':
			if f.item.nesting--; f.item.nesting == 0 {
				return b[i+1:], skipped, nil
			}
		case '{':
			if n, ok := literalSize(b[i:]); ok {
				f.mode, f.literal, f.pass = inFetch, n, false
				return nil, skippedToLiteral, nil
			}
		}
	}
	return nil, unreadable, nil
}

// cutItemName splits an item into its name, in capitals, and its value. A section in brackets and an origin in angles
// belong to the name.
func cutItemName(b []byte) (name string, value []byte, ok bool) {
	end := bytes.IndexAny(b, " ()[\"{")
	if end <= 0 {
		return "", nil, false
	}
	if b[end] == '[' {
		closing := bytes.IndexByte(b[end:], ']')
		if closing < 0 {
			return "", nil, false
		}
		end += closing + 1
		if end < len(b) && b[end] == '<' {
			closing := bytes.IndexByte(b[end:], '>')
			if closing < 0 {
				return "", nil, false
			}
			end += closing + 1
		}
	}
	return strings.ToUpper(string(b[:end])), bytes.TrimLeft(b[end:], " "), true
}

// isBody reports whether name is a section that a session asks for: the message, or its header.
func isBody(name string) bool {
	section, origin, partial := strings.Cut(name, "<")
	if partial && !isNumber(strings.TrimSuffix(origin, ">")) {
		return false
	}
	return section == "BODY[]" || section == "BODY[HEADER]"
}

// isDateTime reports whether a quoted string is a date-time as the client library reads it. Others are dropped: a
// message without a date is better than a folder that cannot be listed.
func isDateTime(quoted string) bool {
	t, err := time.Parse(`"_2-Jan-2006 15:04:05 -0700"`, quoted)
	return err == nil && !t.IsZero()
}
