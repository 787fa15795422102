package main

import (
	"context"

	"github.com/postroom/postroom/internal/imap"
	"github.com/postroom/postroom/internal/mailbox"
	"github.com/postroom/postroom/internal/poller"
	"github.com/postroom/postroom/internal/pop3"
)

// imapOpener and pop3Opener hand sessions over as the interface that poller declares.
type imapOpener struct{ *imap.Opener }

func (o imapOpener) Open(ctx context.Context, p *mailbox.Profile, username, password string) (poller.Session, error) {
	s, err := o.Opener.Open(ctx, p, username, password)
	if err != nil {
		return nil, err // not a nil *Session inside an interface
	}
	return s, nil
}

type pop3Opener struct{ *pop3.Opener }

func (o pop3Opener) Open(ctx context.Context, p *mailbox.Profile, username, password string) (poller.Session, error) {
	s, err := o.Opener.Open(ctx, p, username, password)
	if err != nil {
		return nil, err
	}
	return s, nil
}
