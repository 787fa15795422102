package demo

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"time"

	"github.com/postroom/postroom/internal/eml"
	"github.com/postroom/postroom/internal/receipt"
)

// identity is a message on a server, as its receipt has it.
type identity struct {
	box box
	id  string // UID, or the unique-id's digest in hexadecimal
}

// held is a sample on a server.
type held struct {
	*sample
	identity

	sha256  [sha256.Size]byte
	octets  int64
	subject string
}

// servers is the sample servers with their mail.
type servers struct {
	imap  *imapServer
	pop3  *pop3Server
	mails []held // in the order of samples
}

// startServers makes certificates and passwords in the folder, fills the servers with the sample mail and starts them on
// free ports. The records that describe them are written to the folder.
func startServers(ctx context.Context, f *folder, program string) (*servers, error) {
	cert, ca, err := makeCertificate(time.Now())
	if err != nil {
		return nil, err
	}
	if err := os.WriteFile(f.ca(), ca, 0o600); err != nil {
		return nil, unusable(err)
	}
	s := &servers{}
	accounts, drop, err := s.accounts(f)
	if err != nil {
		return nil, err
	}
	if err := s.fill(accounts, drop); err != nil {
		return nil, err
	}
	imapPort, err := listen(ctx)
	if err != nil {
		return nil, err
	}
	pop3Port, err := listen(ctx)
	if err != nil {
		return nil, errors.Join(err, imapPort.Close())
	}
	config := &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12}
	s.imap = startIMAP(imapPort, config, accounts[anna], accounts[forward])
	s.pop3 = startPOP3(pop3Port, config, drop)
	if err := f.writeRecords(program, portOf(imapPort), portOf(pop3Port)); err != nil {
		s.close()
		return nil, err
	}
	return s, nil
}

// accounts makes the accounts with their passwords.
func (s *servers) accounts(f *folder) (accounts map[box]imapAccount, drop *maildrop, err error) {
	accounts = map[box]imapAccount{}
	for _, a := range []struct {
		box     box
		user    string
		folders []string
	}{
		{anna, "anna", []string{"INBOX"}},
		{forward, "forward", []string{"INBOX", "Recorded", "Undeliverable"}},
	} {
		password, err := f.newSecret(a.user)
		if err != nil {
			return nil, nil, err
		}
		if accounts[a.box], err = newIMAPAccount(a.user, password, a.folders...); err != nil {
			return nil, nil, err
		}
	}
	password, err := f.newSecret("support")
	return accounts, &maildrop{user: "support", password: password}, err
}

// fill puts the samples in and notes where each is.
func (s *servers) fill(accounts map[box]imapAccount, drop *maildrop) error {
	arrived := time.Now().Add(-time.Hour)
	for i := range samples {
		raw, err := octets(samples[i].file)
		if err != nil {
			return err
		}
		view := eml.Read(raw, eml.DefaultLimits()).View()
		m := held{sample: &samples[i], sha256: sha256.Sum256(raw), octets: int64(len(raw)), subject: view.Subject}
		m.identity.box = samples[i].box
		if account, ok := accounts[m.identity.box]; ok {
			uid, err := account.add(raw, arrived.Add(time.Duration(i)*time.Minute))
			if err != nil {
				return err
			}
			m.id = strconv.FormatUint(uint64(uid), 10)
		} else {
			digest := receipt.UniqueIDDigest(drop.add(raw))
			m.id = hex.EncodeToString(digest[:])
		}
		s.mails = append(s.mails, m)
	}
	return nil
}

// find returns the samples of a box with these octets: several only if they are the same message.
func (s *servers) find(b box, octets int64) []held {
	var found []held
	for _, m := range s.mails {
		if m.identity.box == b && m.octets == octets {
			found = append(found, m)
		}
	}
	return found
}

// close ends both servers at once.
func (s *servers) close() {
	s.imap.close()
	s.pop3.close()
}

// listen opens a free port of this machine, which no other machine can reach.
func listen(ctx context.Context) (net.Listener, error) {
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", net.JoinHostPort(serverAddress, "0"))
	if err != nil {
		return nil, fmt.Errorf("open a port for a sample server: %w", err)
	}
	return l, nil
}

func portOf(l net.Listener) int {
	return l.Addr().(*net.TCPAddr).Port // it listens on TCP
}
