package interop;

import java.util.List;

import org.springframework.beans.factory.annotation.Value;
import org.springframework.context.annotation.Bean;
import org.springframework.security.oauth2.client.OAuth2AuthorizedClientManager;
import org.springframework.security.oauth2.client.web.client.OAuth2ClientHttpRequestInterceptor;
import org.springframework.security.oauth2.server.authorization.OAuth2TokenType;
import org.springframework.security.oauth2.server.authorization.token.JwtEncodingContext;
import org.springframework.security.oauth2.server.authorization.token.OAuth2TokenCustomizer;
import org.springframework.web.client.RestClient;

/** The Java of docs/guard.md and docs/other-languages.md, line for line: it compiles, and nothing uses it. */
class Documented {
  @Bean
  OAuth2TokenCustomizer<JwtEncodingContext> accessTokens() {
    return context -> {
      if (!OAuth2TokenType.ACCESS_TOKEN.equals(context.getTokenType())) return; // leaves ID tokens alone
      context.getJwsHeader().type("at+jwt");
      context.getClaims()
          .audience(List.of("https://orders.example.com"))
          .claim("client_id", context.getRegisteredClient().getClientId())
          .claim("gty", context.getAuthorizationGrantType().getValue()); // client_credentials, or a login
    };
  }

  @Bean
  RestClient billing(OAuth2AuthorizedClientManager clients, @Value("${BILLING_URL}") String url) {
    var tokens = new OAuth2ClientHttpRequestInterceptor(clients);
    tokens.setClientRegistrationIdResolver(request -> "broker");
    return RestClient.builder().baseUrl(url).requestInterceptor(tokens).build();
  }
}
