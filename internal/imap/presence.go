package imap

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/emersion/go-imap/v2"

	"github.com/postroom/postroom/internal/fault"
	"github.com/postroom/postroom/internal/source"
)

// found is what the open folder shows of a message that was looked for.
type found struct {
	number uint32    // sequence number
	date   time.Time // INTERNALDATE, if it was asked for; zero: the server does not say
}

// look returns those of uids that the open folder shows, with their dates if dates is set. Certain says that every answer
// named its message, so that the others were not shown.
func (s *Session) look(ctx context.Context, uids []uint32, dates bool) (there map[uint32]found, certain bool, err error) {
	there = make(map[uint32]found, len(uids))
	before := s.filter.notes()
	for chunk := range slices.Chunk(uids, uidChunk) {
		err := s.run(ctx, "look for messages", s.timeout, commandOctets, want{fetch: true}, func() error {
			cmd := s.client.Fetch(uidSet(chunk), &imap.FetchOptions{UID: true, InternalDate: dates})
			for msg := cmd.Next(); msg != nil; msg = cmd.Next() {
				ref := source.Ref{}
				readRef(msg, &ref)
				if slices.Contains(chunk, ref.UID) {
					there[ref.UID] = found{number: max(msg.SeqNum, 1), date: ref.InternalDate}
				}
			}
			return cmd.Close()
		})
		if err != nil {
			return nil, false, err
		}
	}
	after := s.filter.notes()
	return there, after.bare == before.bare && after.noUID == before.noUID && after.malformed == before.malformed, nil
}

// unclear is about messages of which the server does not say whether they are there.
func (s *Session) unclear(reason string) error {
	return fault.New(fault.Transient, "presence_unclear", "it is asked again at the next poll; if it stays so, see the mail server's log",
		fmt.Errorf("folder %q: it cannot be told whether a message is still there: %s", s.folder.name, reason))
}

// search returns the UIDs in the open folder that fit. A server that answers without a result, which RFC 3501 section
// 6.4.4 does not allow, is not taken to have found nothing.
func (s *Session) search(ctx context.Context, criteria *imap.SearchCriteria) ([]imap.UID, error) {
	before := s.filter.notes().searches
	var uids []imap.UID
	err := s.run(ctx, "SEARCH", s.timeout, maxSearch, want{search: true}, func() error {
		data, err := s.client.UIDSearch(criteria, nil).Wait()
		if err == nil {
			uids = data.AllUIDs()
		}
		return err
	})
	if err == nil && s.filter.notes().searches == before {
		err = fault.New(fault.Transient, "search_unanswered", "see the mail server's log", errors.New("SEARCH: the server gave no result"))
	}
	return uids, err
}

// settle decides about messages that were not shown when they were asked for. The folder is opened again, as other
// sessions have left it. One is gone, and ErrVanished, only if UIDVALIDITY is the same, UIDNEXT has passed it, and neither
// SEARCH nor FETCH has it; when that cannot be told settle fails, and nothing is decided. For the others there is called,
// with a number of 0 if SEARCH alone has the message.
func (f *fetching) settle(ctx context.Context, refs []source.Ref, there func(ctx context.Context, ref source.Ref, number uint32) error) error {
	if len(refs) == 0 {
		return nil
	}
	s := f.session
	if err := s.open(ctx, refs[0].Folder, false); err != nil {
		return err
	}
	if err := s.ensure(ctx, refs[0]); err != nil {
		return err
	}
	uids := make([]uint32, len(refs))
	for i, ref := range refs {
		if uids[i] = ref.UID; s.folder.uidNext != 0 && s.folder.uidNext <= ref.UID {
			return s.unclear(fmt.Sprintf("UIDNEXT is %d, and uid %d was listed", s.folder.uidNext, ref.UID))
		}
	}
	hits := make(map[uint32]bool)
	for chunk := range slices.Chunk(uids, uidChunk) {
		list, err := s.search(ctx, &imap.SearchCriteria{UID: []imap.UIDSet{uidSet(chunk)}})
		if err != nil {
			return err
		}
		for _, uid := range list {
			hits[uint32(uid)] = true
		}
	}
	shown, certain, err := s.look(ctx, uids, false)
	if err != nil {
		return err
	}
	unclear := 0
	for _, ref := range refs { // no command in between lets sequence numbers change (RFC 3501 section 7.4.1)
		switch number := shown[ref.UID].number; {
		case number != 0 || hits[ref.UID]:
			err = there(ctx, ref, number)
		case certain:
			err = f.deliver(ref, source.Fetched{Ref: ref, Err: source.ErrVanished})
		default:
			unclear++
		}
		if err != nil {
			return err
		}
	}
	if unclear > 0 {
		return s.unclear("a FETCH response came without the UID, or illegibly")
	}
	return nil
}

func uidSet(uids []uint32) imap.UIDSet {
	var set imap.UIDSet
	for _, uid := range uids {
		set.AddNum(imap.UID(uid))
	}
	return set
}
