package demo

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"io"
	"log"
	"net"
	"sync"
	"time"

	"github.com/emersion/go-imap/v2"
	"github.com/emersion/go-imap/v2/imapserver"
	"github.com/emersion/go-imap/v2/imapserver/imapmemserver"
)

// imapServer is an IMAP server with mail in memory.
//
// QUIRK: it can only hand over a message whose header go-message can parse; samples with a worse one are on POP3.
type imapServer struct {
	server   *imapserver.Server
	listener net.Listener
	wg       sync.WaitGroup
}

// imapAccount is one user's folders.
type imapAccount struct{ user *imapmemserver.User }

// newIMAPAccount makes an account with an empty folder of each name.
func newIMAPAccount(user, password string, folders ...string) (imapAccount, error) {
	a := imapAccount{imapmemserver.NewUser(user, password)}
	for _, name := range folders {
		if err := a.user.Create(name, nil); err != nil {
			return imapAccount{}, fmt.Errorf("make folder %s of the sample server: %w", name, err)
		}
	}
	return a, nil
}

// add puts a message into INBOX and returns its UID.
func (a imapAccount) add(octets []byte, arrived time.Time) (uint32, error) {
	data, err := a.user.Append("INBOX", bytes.NewReader(octets), &imap.AppendOptions{Time: arrived})
	if err != nil {
		return 0, fmt.Errorf("put a message into the sample server: %w", err)
	}
	return uint32(data.UID), nil
}

// startIMAP serves the accounts on l, with implicit TLS, until close.
func startIMAP(l net.Listener, config *tls.Config, accounts ...imapAccount) *imapServer {
	store := imapmemserver.New()
	for _, a := range accounts {
		store.AddUser(a.user)
	}
	s := &imapServer{listener: tls.NewListener(l, config)}
	s.server = imapserver.New(&imapserver.Options{
		NewSession: func(*imapserver.Conn) (imapserver.Session, *imapserver.GreetingData, error) {
			return store.NewSession(), nil, nil
		},
		Caps: imap.CapSet{
			imap.CapIMAP4rev1: {}, imap.CapNamespace: {}, imap.CapUIDPlus: {}, imap.CapESearch: {}, imap.CapMove: {},
			imap.CapListExtended: {}, imap.CapListStatus: {},
		},
		Logger: log.New(io.Discard, "", 0), // sessions that end abruptly are none of the newcomer's business
	})
	s.wg.Go(func() { _ = s.server.Serve(s.listener) }) // it ends when it is closed
	return s
}

// close ends all sessions at once.
func (s *imapServer) close() {
	_ = s.server.Close()
	_ = s.listener.Close() // where Serve had not begun yet
	s.wg.Wait()
}
