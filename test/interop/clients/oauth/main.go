// Gets a token with golang.org/x/oauth2/clientcredentials, and writes it as JSON. What is asked comes as JSON on standard
// input, as for authlib_client.py.
package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"os"

	"golang.org/x/oauth2"
	"golang.org/x/oauth2/clientcredentials"
)

type given struct {
	Method        string            `json:"method"`
	TokenEndpoint string            `json:"token_endpoint"`
	ClientID      string            `json:"client_id"`
	ClientSecret  string            `json:"client_secret"`
	WorkloadToken string            `json:"workload_token"`
	Certificate   string            `json:"certificate"`
	Key           string            `json:"key"`
	CA            string            `json:"ca"`
	Parameters    map[string]string `json:"parameters"`
}

func main() {
	if err := fetch(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func fetch() error {
	var given given
	if err := json.NewDecoder(os.Stdin).Decode(&given); err != nil {
		return err
	}
	var certificates []tls.Certificate
	parameters := url.Values{}
	for name, value := range given.Parameters {
		parameters.Set(name, value)
	}
	broker := clientcredentials.Config{TokenURL: given.TokenEndpoint, EndpointParams: parameters}
	switch given.Method {
	case "client_secret_basic":
		broker.ClientID, broker.ClientSecret = given.ClientID, given.ClientSecret
		broker.AuthStyle = oauth2.AuthStyleInHeader
	case "client_secret_post":
		broker.ClientID, broker.ClientSecret = given.ClientID, given.ClientSecret
		broker.AuthStyle = oauth2.AuthStyleInParams
	case "auto-detect":
		broker.ClientID, broker.ClientSecret = given.ClientID, given.ClientSecret
	case "workload_token":
		parameters.Set("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer")
		parameters.Set("client_assertion", given.WorkloadToken)
		broker.AuthStyle = oauth2.AuthStyleInParams
	case "tls_client_auth":
		certificate, err := tls.LoadX509KeyPair(given.Certificate, given.Key)
		if err != nil {
			return err
		}
		certificates = append(certificates, certificate)
		broker.ClientID = given.ClientID
		broker.AuthStyle = oauth2.AuthStyleInParams
	default:
		return fmt.Errorf("unknown method %q", given.Method)
	}
	authority, err := os.ReadFile(given.CA)
	if err != nil {
		return err
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(authority)
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, Certificates: certificates}}
	ctx := context.WithValue(context.Background(), oauth2.HTTPClient, &http.Client{Transport: transport})
	token, err := broker.Token(ctx)
	if err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(map[string]any{
		"access_token": token.AccessToken,
		"token_type":   token.TokenType,
		"expires_in":   token.Extra("expires_in"),
		"scope":        token.Extra("scope"),
	})
}
