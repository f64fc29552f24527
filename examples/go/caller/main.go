// Calls a service with the service token, once a second, and follows the list of docs/other-languages.md: the token is kept
// for five minutes, an outage of the broker is survived, and a 401 is tried again once, with a new token.
package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/oauth2"
	"golang.org/x/oauth2/clientcredentials"
)

const (
	keep  = 5 * time.Minute // then ask again
	pause = time.Second     // between two requests to the broker, at least
)

// assertionType is for peers without a secret: RFC 7523.
const assertionType = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"

// request asks the broker for the token: by the workload token in the file WORKLOAD_TOKEN_FILE, else by id and secret.
func request(ctx context.Context) (*oauth2.Token, error) {
	broker := clientcredentials.Config{
		ClientID:     os.Getenv("BROKER_CLIENT_ID"),
		ClientSecret: os.Getenv("BROKER_CLIENT_SECRET"),
		TokenURL:     os.Getenv("BROKER_URL") + "/oauth2/token",
		AuthStyle:    oauth2.AuthStyleInHeader,
	}
	// Read for each request: the kubelet replaces the file.
	if file := os.Getenv("WORKLOAD_TOKEN_FILE"); file != "" {
		assertion, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		broker.ClientSecret = ""
		broker.AuthStyle = oauth2.AuthStyleInParams
		broker.EndpointParams = url.Values{
			"client_assertion_type": {assertionType},
			"client_assertion":      {strings.TrimSpace(string(assertion))},
		}
	}
	return broker.Token(ctx)
}

// serviceToken is an http.RoundTripper that attaches the token. Use it for your own services only.
type serviceToken struct {
	mutex  sync.Mutex
	token  *oauth2.Token
	err    error     // why there is no newer token
	fresh  time.Time // keep the token until then
	paused time.Time // do not ask the broker before
}

// get gives the token that is kept, or a new one when it is old or the one that a callee has refused.
func (s *serviceToken) get(ctx context.Context, refused string) (*oauth2.Token, error) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	now := time.Now()
	good := s.token.Valid() && now.Before(s.fresh) && s.token.AccessToken != refused
	if !good && now.After(s.paused) {
		client := &http.Client{Timeout: 10 * time.Second}
		if refused != "" {
			client.Transport = noCache{}
		}
		// The token is for all calls: none that ends early ends the request for it.
		ctx = context.WithValue(context.WithoutCancel(ctx), oauth2.HTTPClient, client)
		token, err := request(ctx)
		s.update(token, err)
	}
	if s.token.Valid() {
		return s.token, nil
	}
	return nil, s.err
}

// update notes what the broker answered. While it is down, the token that is there is used on.
func (s *serviceToken) update(token *oauth2.Token, err error) {
	now := time.Now()
	s.paused = now.Add(pause)
	if err == nil {
		s.token, s.fresh = token, now.Add(keep)
		s.err = errors.New("the broker's token is about to expire")
		return
	}
	s.err = err
	var answer *oauth2.RetrieveError
	if !errors.As(err, &answer) {
		return
	}
	switch answer.Response.StatusCode {
	case http.StatusBadRequest, http.StatusUnauthorized, http.StatusForbidden:
		s.token = nil // yours to fix: the peer, its secret, or what it asks for
	default:
		if seconds, bad := strconv.Atoi(answer.Response.Header.Get("Retry-After")); bad == nil {
			s.paused = now.Add(time.Duration(seconds) * time.Second)
		}
	}
}

// RoundTrip sends the request with the token, and once more when the callee refuses that token and the broker has another.
func (s *serviceToken) RoundTrip(call *http.Request) (*http.Response, error) {
	token, err := s.get(call.Context(), "")
	if err != nil {
		if call.Body != nil {
			call.Body.Close()
		}
		return nil, err
	}
	response, err := send(call, token)
	if err != nil || response.StatusCode != http.StatusUnauthorized {
		return response, err
	}
	second := call.Clone(call.Context())
	if call.Body != nil && call.Body != http.NoBody {
		if call.GetBody == nil {
			return response, nil
		}
		if second.Body, err = call.GetBody(); err != nil {
			return response, nil
		}
	}
	newer, err := s.get(call.Context(), token.AccessToken)
	if err != nil || newer.AccessToken == token.AccessToken {
		return response, nil
	}
	response.Body.Close()
	return send(second, newer)
}

func send(call *http.Request, token *oauth2.Token) (*http.Response, error) {
	call = call.Clone(call.Context())
	token.SetAuthHeader(call)
	return http.DefaultTransport.RoundTrip(call)
}

// noCache makes the broker read its store, in case another replica has rotated.
type noCache struct{}

func (noCache) RoundTrip(request *http.Request) (*http.Response, error) {
	request = request.Clone(request.Context())
	request.Header.Set("Cache-Control", "no-cache")
	return http.DefaultTransport.RoundTrip(request)
}

func main() {
	billing := &http.Client{
		Transport: &serviceToken{},
		Timeout:   10 * time.Second,
		// The token would go along.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	for {
		response, err := billing.Post(os.Getenv("BILLING_URL")+"/settlement", "", nil)
		if err != nil {
			fmt.Println(err)
		} else {
			fmt.Println(response.Status)
			response.Body.Close()
		}
		time.Sleep(time.Second)
	}
}
