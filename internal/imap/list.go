package imap

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/emersion/go-imap/v2"
	"github.com/emersion/go-imap/v2/imapclient"

	"github.com/postroom/postroom/internal/dial"
	"github.com/postroom/postroom/internal/fault"
	"github.com/postroom/postroom/internal/source"
)

const (
	maxMessages  = 10_000_000 // in a folder that is listed
	firstSpan    = 10_000     // UIDs asked for in the first command of a listing
	refOctets    = 512        // of one message in a listing, generously
	foldersShown = 20         // in the hint about a folder that is missing
)

// List opens folder read-only and lists its messages from since.UID on, up to UIDNEXT: what comes in meanwhile is shown
// by the next listing. Nothing more is asked for if there is nothing new. If UIDVALIDITY is another, or UIDNEXT has
// gone below since.UID, everything is listed, and Reset says so; without a cursor (UIDVALIDITY 0) everything is listed
// and Reset is false. A server without UIDNEXT is asked for since.UID:*, of which RFC 3501 section 6.4.8 says that it
// always has the last message in it.
//
// A message that the server lists illegibly is found by SEARCH, and has neither size nor date.
//
// A folder that is not there is folder_missing, permanent, with the folders that are in the hint.
func (s *Session) List(ctx context.Context, folder string, since source.Since) (source.Listing, error) {
	if err := s.open(ctx, folder, false); err != nil {
		return source.Listing{}, err
	}
	f := s.folder
	if f.messages > maxMessages {
		return source.Listing{}, fault.New(fault.Permanent, "folder_too_large", "move old mail out of the folder",
			fmt.Errorf("folder %q has %d messages", folder, f.messages))
	}
	listing := source.Listing{Folder: folder, UIDValidity: f.validity, UIDNext: f.uidNext, Messages: int(f.messages), Complete: true}
	first := max(since.UID, 1)
	if since.UIDValidity == 0 {
		first = 1
	} else if since.UIDValidity != f.validity || (f.uidNext != 0 && f.uidNext < since.UID) {
		first, listing.Reset = 1, true
	}
	if f.messages == 0 || (f.uidNext != 0 && f.uidNext <= first) {
		return listing, nil
	}
	var err error
	listing.Refs, err = s.listFrom(ctx, first)
	return listing, err
}

// listFrom lists the open folder from a UID on. It asks for spans of UIDs, wider ones where there are few messages.
func (s *Session) listFrom(ctx context.Context, first uint32) ([]source.Ref, error) {
	f := s.folder
	if f.uidNext == 0 {
		return s.listSpan(ctx, nil, first, 0)
	}
	var refs []source.Ref
	span := uint32(firstSpan)
	for f.uidNext > first {
		last := f.uidNext - 1
		if last-first >= span {
			last = first + span - 1
		}
		before := len(refs)
		var err error
		if refs, err = s.listSpan(ctx, refs, first, last); err != nil {
			return nil, err
		}
		if uint32(len(refs)-before) < span/8 && span < math.MaxUint32/16 {
			span *= 16
		} else if span > firstSpan {
			span = firstSpan
		}
		first = last + 1
	}
	return refs, nil
}

// listSpan appends the messages with UIDs from first to last, in their order. A last of 0 means "*".
func (s *Session) listSpan(ctx context.Context, refs []source.Ref, first, last uint32) ([]source.Ref, error) {
	f := s.folder
	expected := int64(f.messages) + 1000
	if last != 0 {
		expected = min(expected, int64(last-first)+1)
	}
	octets := expected*refOctets + commandOctets
	start := len(refs)
	before := s.filter.notes()
	err := s.run(ctx, "list", s.forMessages(octets), octets, want{fetch: true}, func() error {
		var set imap.UIDSet
		set.AddRange(imap.UID(first), imap.UID(last))
		cmd := s.client.Fetch(set, &imap.FetchOptions{UID: true, RFC822Size: true, InternalDate: true})
		for msg := cmd.Next(); msg != nil; msg = cmd.Next() {
			ref := source.Ref{Folder: f.name, UIDValidity: f.validity}
			readRef(msg, &ref)
			if ref.UID >= first && (last == 0 || ref.UID <= last) {
				refs = append(refs, ref)
			}
		}
		return cmd.Close()
	})
	if err != nil {
		return nil, err
	}
	if after := s.filter.notes(); after.noUID > before.noUID || after.malformed > before.malformed {
		if refs, err = s.listIllegible(ctx, refs, start, first, last); err != nil {
			return nil, err
		}
	}
	added := refs[start:]
	slices.SortFunc(added, func(a, b source.Ref) int { return cmp.Compare(a.UID, b.UID) })
	return append(refs[:start], slices.CompactFunc(added, func(a, b source.Ref) bool { return a.UID == b.UID })...), nil
}

// listIllegible appends the messages with UIDs from first to last that are not among refs[start:], because the server
// listed them without their UID, or illegibly. SEARCH has their UIDs; their size and date stay unknown. So one odd message
// costs itself and not the folder: it is asked for, and if it cannot be had that is written down.
func (s *Session) listIllegible(ctx context.Context, refs []source.Ref, start int, first, last uint32) ([]source.Ref, error) {
	listed := make(map[uint32]bool, len(refs)-start)
	for _, ref := range refs[start:] {
		listed[ref.UID] = true
	}
	var set imap.UIDSet
	set.AddRange(imap.UID(first), imap.UID(last))
	uids, err := s.search(ctx, &imap.SearchCriteria{UID: []imap.UIDSet{set}})
	if err != nil {
		return nil, fault.Wrap(err, "a message was listed without its UID, or illegibly")
	}
	for _, found := range uids {
		if uid := uint32(found); uid >= first && (last == 0 || uid <= last) && !listed[uid] {
			refs = append(refs, source.Ref{Folder: s.folder.name, UIDValidity: s.folder.validity, UID: uid})
		}
	}
	return refs, nil
}

func readRef(msg *imapclient.FetchMessageData, ref *source.Ref) {
	for item := msg.Next(); item != nil; item = msg.Next() {
		switch item := item.(type) {
		case imapclient.FetchItemDataUID:
			ref.UID = uint32(item.UID)
		case imapclient.FetchItemDataRFC822Size:
			ref.Octets = item.Size
		case imapclient.FetchItemDataInternalDate:
			ref.InternalDate = item.Time
		}
	}
}

// open opens a folder, read-only by EXAMINE or writable by SELECT.
func (s *Session) open(ctx context.Context, folder string, writable bool) error {
	if !validFolder(folder) {
		return fault.New(fault.Permanent, "folder_name_invalid", "correct the folder's name in the mailbox", fmt.Errorf("folder name %q is empty, too long or holds control characters", dial.ServerText(folder)))
	}
	what := "EXAMINE"
	if writable {
		what = "SELECT"
	}
	what = fmt.Sprintf("%s %q", what, folder)
	s.folder = opened{}
	err := s.run(ctx, what, s.timeout, commandOctets, want{}, func() error {
		data, err := s.client.Select(folder, &imap.SelectOptions{ReadOnly: !writable}).Wait()
		if err == nil {
			s.folder = opened{name: folder, writable: writable, validity: data.UIDValidity, uidNext: uint32(data.UIDNext), messages: data.NumMessages}
		}
		return err
	})
	if err != nil && s.over == nil {
		return s.cannotOpen(ctx, folder, err)
	}
	if err != nil {
		return err
	}
	if s.folder.validity == 0 {
		s.folder = opened{}
		return fault.New(fault.Permanent, "no_uids", "use POP3, or another folder: messages here have no lasting names (RFC 3501 section 2.3.1.1)",
			fmt.Errorf("folder %q has no UIDVALIDITY", folder))
	}
	return nil
}

// cannotOpen finds out whether a folder that was refused is missing.
func (s *Session) cannotOpen(ctx context.Context, folder string, refused error) error {
	if !isRefusal(refused, "refused", "folder_missing", "no_permission") {
		return refused
	}
	folders, err := s.folders(ctx)
	if err != nil {
		if isRefusal(refused, "folder_missing") {
			return refused
		}
		return err
	}
	if _, there := folders[folder]; there {
		if isRefusal(refused, "folder_missing") { // it has others below it, but no messages
			return fault.New(fault.Permanent, "folder_not_selectable", "name a folder that holds mail", refused)
		}
		return refused
	}
	names := slices.Sorted(func(yield func(string) bool) {
		for name, selectable := range folders {
			if selectable && !yield(s.filter.secrets.shown(name)) {
				return
			}
		}
	})
	hint := "create the folder on the mail server, or correct its name in the mailbox"
	if len(names) > 0 {
		hint += "; there are: " + strings.Join(names[:min(len(names), foldersShown)], ", ")
		if len(names) > foldersShown {
			hint += ", …"
		}
	}
	return fault.New(fault.Permanent, "folder_missing", hint, fmt.Errorf("folder %q is not there: %w", folder, refused))
}

// folders returns the names of the folders, and whether they can hold mail. There are 1000 at most.
func (s *Session) folders(ctx context.Context) (map[string]bool, error) {
	const most = 1000
	folders := make(map[string]bool)
	err := s.run(ctx, "LIST", s.timeout, 1<<20, want{list: true}, func() error {
		cmd := s.client.List("", "*", nil)
		for data := cmd.Next(); data != nil; data = cmd.Next() {
			if len(folders) < most {
				folders[data.Mailbox] = !slices.Contains(data.Attrs, imap.MailboxAttrNoSelect) && !slices.Contains(data.Attrs, imap.MailboxAttrNonExistent)
			}
		}
		return cmd.Close()
	})
	return folders, err
}

func validFolder(name string) bool {
	return name != "" && len(name) <= 1024 && !strings.ContainsFunc(name, func(r rune) bool { return r < ' ' || r == 0x7f })
}
