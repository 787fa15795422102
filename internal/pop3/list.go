package pop3

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/postroom/postroom/internal/dial"
	"github.com/postroom/postroom/internal/fault"
	"github.com/postroom/postroom/internal/source"
)

// Bounds of a listing. The largest maildrop costs about 130 octets a message here; a server that lies cannot make it
// cost more than the octets it really sends.
const (
	maxMessages   = 2_000_000
	maxUniqueID   = 512      // RFC 1939 §7 allows 70
	listingOctets = 16 << 20 // of any listing; the rest is lineOctets a message
	lineOctets    = 100      // 83 for the longest line of UIDL that is allowed
	typicalLine   = 32       // what patience is reckoned with
	spareLines    = 1000     // more than STAT counted
	firstEntries  = 1 << 16  // allocated on the word of STAT alone
)

const (
	unlisted  = -1 // LIST has not shown the message
	ambiguous = -2 // the server contradicts itself about the message-number
)

// entry is what UIDL and LIST of this session say of one message.
type entry struct {
	uniqueID string
	octets   int64
	number   int32
}

// List lists the maildrop. Its folder is named INBOX; another is a Permanent folder_missing.
//
// A line that is not as RFC 1939 §5 and §7 say is left out, and the listing is then not Complete. Nor is it when STAT,
// UIDL and LIST differ. A unique-id is all that follows the blank after the message-number; longer or other ones than
// the RFC allows are kept, up to 512 octets. Two messages with the same unique-id are two Refs. A server without UIDL is
// a Permanent uidl_missing: without it no message could be known again.
func (s *Session) List(ctx context.Context, folder string, since source.Since) (source.Listing, error) {
	if !strings.EqualFold(folder, Inbox) {
		return source.Listing{}, fault.New(fault.Permanent, "folder_missing",
			"a POP3 server has the one folder INBOX: name it, or use IMAP",
			fmt.Errorf("list folder %q: POP3 has no folders", folder))
	}
	messages, err := s.list(ctx)
	if err != nil {
		return source.Listing{}, err
	}
	listing := source.Listing{Folder: Inbox, Messages: messages, Complete: s.complete, Refs: make([]source.Ref, len(s.entries))}
	for i, e := range s.entries {
		listing.Refs[i] = source.Ref{Folder: Inbox, UniqueID: e.uniqueID, Number: int(e.number), Octets: e.octets}
	}
	if since.Dates {
		if err := s.dates(ctx, listing.Refs); err != nil {
			return source.Listing{}, err
		}
	}
	return listing, nil
}

// list fills s.entries and s.complete, and returns what STAT counted.
func (s *Session) list(ctx context.Context) (messages int, err error) {
	s.listed, s.complete, s.entries = false, false, nil
	if messages, err = s.stat(ctx); err != nil {
		return 0, err
	}
	l := lister{messages: messages, clean: true, sorted: true}
	l.entries = make([]entry, 0, min(messages, firstEntries))
	if err := s.uidl(ctx, &l); err != nil {
		return 0, err
	}
	l.sort()
	r, err := s.listing(ctx, "LIST", messages, l.size)
	if err != nil {
		return 0, fault.Wrap(err, "LIST")
	}
	if !r.ok {
		return 0, r.fault("LIST", fault.Transient, "list_refused", "the server does not list the maildrop: look at its log")
	}
	s.entries, s.complete = l.finish()
	s.listed = true
	return messages, nil
}

func (s *Session) stat(ctx context.Context) (messages int, err error) {
	r, err := s.simple(ctx, s.timeout, func() (err error) {
		if messages, _, err = s.client.Stat(); err != nil {
			err = violation("STAT: %s", dial.ServerText(string(s.relay.last)))
		}
		return err
	})
	switch {
	case err != nil:
		return 0, fault.Wrap(err, "STAT")
	case !r.ok:
		return 0, r.fault("STAT", fault.Transient, "stat_refused", "the server does not open the maildrop: look at its log")
	case messages < 0:
		s.drop()
		return 0, violation("STAT counts %d messages", messages)
	case messages > maxMessages:
		return 0, fault.New(fault.Permanent, "maildrop_too_large", "move old messages elsewhere, or use IMAP",
			fmt.Errorf("the maildrop has %d messages, more than %d", messages, maxMessages))
	}
	return messages, nil
}

func (s *Session) uidl(ctx context.Context, l *lister) error {
	r, err := s.listing(ctx, "UIDL", l.messages, l.uniqueID)
	if err != nil {
		return fault.Wrap(err, "UIDL")
	}
	// QUIRK: some servers refuse UIDL while the maildrop is empty. STAT and LIST then say the same.
	if r.ok || l.messages == 0 && s.can("UIDL") && !r.temporary() {
		return nil
	}
	if s.can("UIDL") {
		return r.fault("UIDL", fault.Transient, "uidl_refused", "the server does not list the maildrop: look at its log")
	}
	return r.fault("UIDL", fault.Permanent, "uidl_missing",
		"the server has no UIDL, without which no message can be known again: switch it on there, or use IMAP")
}

// listing runs a command with a line for each message.
func (s *Session) listing(ctx context.Context, command string, messages int, each func(line []byte) error) (r reply, err error) {
	octets := listingOctets + int64(messages)*lineOctets
	err = s.op(ctx, s.patience(int64(messages)*typicalLine), octets, func() error {
		if _, err := s.conn.Write([]byte(command + "\r\n")); err != nil {
			return err
		}
		if r, err = s.wire.status(); err != nil {
			return err
		}
		if r.challenge {
			return violation("a challenge in answer to %s", command)
		}
		if !r.ok {
			return nil
		}
		return s.wire.lines(messages+spareLines, each)
	})
	return r, err
}

// lister puts UIDL and LIST together.
type lister struct {
	messages int
	clean    bool // no line was malformed, none contradicts another
	entries  []entry
	sorted   bool
	next     int // entry that the next line of LIST should be about
	sizes    int // lines of LIST
	ids      int // lines of UIDL
}

func (l *lister) uniqueID(line []byte) error {
	l.ids++
	number, id, ok := numberAnd(line)
	if !ok || len(id) == 0 || len(id) > maxUniqueID {
		l.clean = false
		return nil
	}
	if n := len(l.entries); n > 0 && l.entries[n-1].number >= number {
		l.sorted = false
	}
	l.entries = append(l.entries, entry{uniqueID: string(id), octets: unlisted, number: number})
	return nil
}

// sort puts the entries in order of message-number, and marks those with the same.
func (l *lister) sort() {
	if l.sorted {
		return
	}
	slices.SortStableFunc(l.entries, func(a, b entry) int { return int(a.number) - int(b.number) })
	for i := 1; i < len(l.entries); i++ {
		if l.entries[i].number == l.entries[i-1].number {
			l.entries[i].octets, l.entries[i-1].octets = ambiguous, ambiguous
			l.clean = false
		}
	}
}

func (l *lister) size(line []byte) error {
	l.sizes++
	number, rest, ok := numberAnd(line)
	size, _, _ := bytes.Cut(rest, []byte(" ")) // RFC 1939 §5 lets more follow
	octets, good := decimal(size, math.MaxInt64/10-1)
	if !ok || !good {
		l.clean = false
		return nil
	}
	i := l.next
	found := i < len(l.entries) && l.entries[i].number == number
	if !found {
		i, found = slices.BinarySearchFunc(l.entries, number, func(e entry, n int32) int { return int(e.number) - int(n) })
	}
	switch {
	case !found:
		l.clean = false
	case l.entries[i].octets == unlisted:
		l.entries[i].octets = octets
	default:
		l.entries[i].octets = ambiguous
		l.clean = false
	}
	l.next = i + 1
	return nil
}

// finish returns the messages that are known by number, unique-id and size, and whether these are all there are.
func (l *lister) finish() (entries []entry, complete bool) {
	entries = slices.DeleteFunc(l.entries, func(e entry) bool { return e.octets < 0 })
	return entries, l.clean && l.ids == l.messages && l.sizes == l.messages && len(entries) == l.messages
}

// numberAnd splits a line into the message-number and what follows the blank after it.
func numberAnd(line []byte) (number int32, rest []byte, ok bool) {
	digits, rest, found := bytes.Cut(line, []byte(" "))
	n, ok := decimal(digits, math.MaxInt32)
	return int32(n), rest, ok && found && n > 0
}

// decimal reads digits, and nothing but digits, up to limit.
func decimal(digits []byte, limit int64) (n int64, ok bool) {
	for _, c := range digits {
		if c < '0' || c > '9' {
			return 0, false
		}
		if n = n*10 + int64(c-'0'); n > limit {
			return 0, false
		}
	}
	return n, len(digits) > 0
}

// byNumber returns the message that a ref of this session's own listing names.
func (s *Session) byNumber(ref source.Ref) (entry, bool) {
	i, ok := slices.BinarySearchFunc(s.entries, ref.Number, func(e entry, n int) int { return int(e.number) - n })
	if !ok || s.entries[i].uniqueID != ref.UniqueID || s.entries[i].octets != ref.Octets {
		return entry{}, false
	}
	return s.entries[i], true
}

// match is what the session's listing shows of an identity.
type match struct {
	entry    entry // if exact is 1
	exact    int   // messages with its unique-id and size
	uniqueID int   // messages with its unique-id
}

// byIdentity looks refs up by unique-id and size, whatever their numbers are, in one walk over the listing.
func (s *Session) byIdentity(refs []source.Ref) []match {
	type identity struct {
		uniqueID string
		octets   int64
	}
	exact := make(map[identity]match, len(refs))
	named := make(map[string]int, len(refs))
	for _, ref := range refs {
		exact[identity{ref.UniqueID, ref.Octets}] = match{}
		named[ref.UniqueID] = 0
	}
	for _, e := range s.entries {
		n, ok := named[e.uniqueID]
		if !ok {
			continue
		}
		named[e.uniqueID] = n + 1
		if m, ok := exact[identity{e.uniqueID, e.octets}]; ok {
			exact[identity{e.uniqueID, e.octets}] = match{entry: e, exact: m.exact + 1}
		}
	}
	matches := make([]match, len(refs))
	for i, ref := range refs {
		matches[i] = exact[identity{ref.UniqueID, ref.Octets}]
		matches[i].uniqueID = named[ref.UniqueID]
	}
	return matches
}

func errNotComplete() error {
	return fault.New(fault.Transient, "listing_incomplete", "the server's UIDL, LIST and STAT do not agree: look at its log",
		errors.New("the listing is not complete"))
}
