package interop;

import com.nimbusds.jose.JWSAlgorithm;
import com.nimbusds.jose.jwk.Curve;
import com.nimbusds.jose.jwk.JWK;
import com.nimbusds.jose.jwk.JWKSet;
import com.nimbusds.jose.jwk.KeyUse;
import com.nimbusds.jose.jwk.gen.ECKeyGenerator;
import com.nimbusds.jose.jwk.gen.RSAKeyGenerator;
import com.nimbusds.jose.jwk.source.JWKSource;
import com.nimbusds.jose.proc.SecurityContext;
import java.time.Duration;
import java.util.List;
import java.util.UUID;
import java.util.concurrent.CopyOnWriteArrayList;
import java.util.function.Consumer;
import org.springframework.boot.SpringApplication;
import org.springframework.boot.autoconfigure.SpringBootApplication;
import org.springframework.context.annotation.Bean;
import org.springframework.core.annotation.Order;
import org.springframework.core.env.Environment;
import org.springframework.security.config.Customizer;
import org.springframework.security.config.annotation.web.builders.HttpSecurity;
import org.springframework.security.core.userdetails.User;
import org.springframework.security.core.userdetails.UserDetailsService;
import org.springframework.security.oauth2.core.AuthorizationGrantType;
import org.springframework.security.oauth2.core.ClientAuthenticationMethod;
import org.springframework.security.oauth2.jose.jws.SignatureAlgorithm;
import org.springframework.security.oauth2.jwt.JwtEncoder;
import org.springframework.security.oauth2.jwt.NimbusJwtEncoder;
import org.springframework.security.oauth2.server.authorization.OAuth2TokenType;
import org.springframework.security.oauth2.server.authorization.client.InMemoryRegisteredClientRepository;
import org.springframework.security.oauth2.server.authorization.client.RegisteredClient;
import org.springframework.security.oauth2.server.authorization.client.RegisteredClientRepository;
import org.springframework.security.oauth2.server.authorization.settings.ClientSettings;
import org.springframework.security.oauth2.server.authorization.settings.OAuth2TokenFormat;
import org.springframework.security.oauth2.server.authorization.settings.TokenSettings;
import org.springframework.security.oauth2.server.authorization.token.JwtEncodingContext;
import org.springframework.security.oauth2.server.authorization.token.OAuth2TokenCustomizer;
import org.springframework.security.provisioning.InMemoryUserDetailsManager;
import org.springframework.security.web.SecurityFilterChain;
import org.springframework.web.bind.annotation.DeleteMapping;
import org.springframework.web.bind.annotation.GetMapping;
import org.springframework.web.bind.annotation.PathVariable;
import org.springframework.web.bind.annotation.PostMapping;
import org.springframework.web.bind.annotation.PutMapping;
import org.springframework.web.bind.annotation.RequestBody;
import org.springframework.web.bind.annotation.RestController;

/**
 * An authorization server with Spring's defaults, for clients whose id begins with {@code plain}; for all others with the customizer
 * that docs/guard.md shows. Under {@code /test} a test replaces the signing key and sets the public keys of a client.
 */
@SpringBootApplication
@RestController
public class AuthorizationServer {
  static final String API = "https://api.example.test";

  /** The newest key of an algorithm comes first, and signs. */
  private final List<JWK> keys = new CopyOnWriteArrayList<>();
  private volatile SignatureAlgorithm algorithm = SignatureAlgorithm.RS256;
  private volatile String clientKeys = "{\"keys\":[]}";

  public static void main(String[] arguments) {
    SpringApplication.run(AuthorizationServer.class, arguments);
  }

  AuthorizationServer() throws Exception {
    newKey("RS256");
  }

  @PostMapping("/test/keys/{name}")
  void newKey(@PathVariable String name) throws Exception {
    SignatureAlgorithm wanted = SignatureAlgorithm.from(name);
    JWSAlgorithm jws = JWSAlgorithm.parse(name);
    String id = UUID.randomUUID().toString();
    keys.add(0, name.startsWith("ES")
        ? new ECKeyGenerator(Curve.P_256).keyID(id).algorithm(jws).keyUse(KeyUse.SIGNATURE).generate()
        : new RSAKeyGenerator(2048).keyID(id).algorithm(jws).keyUse(KeyUse.SIGNATURE).generate());
    algorithm = wanted;
  }

  @DeleteMapping("/test/keys")
  void withdrawOldKeys() {
    keys.retainAll(List.of(keys.get(0)));
  }

  @PutMapping("/test/client-keys")
  void setClientKeys(@RequestBody String json) {
    clientKeys = json;
  }

  @GetMapping(path = "/test/client-keys", produces = "application/json")
  String clientKeys() {
    return clientKeys;
  }

  @Bean
  JWKSource<SecurityContext> keySource() {
    return (selector, context) -> selector.select(new JWKSet(keys));
  }

  @Bean
  JwtEncoder jwtEncoder(JWKSource<SecurityContext> source) {
    NimbusJwtEncoder encoder = new NimbusJwtEncoder(source);
    encoder.setJwkSelector(found -> found.get(0));
    return encoder;
  }

  @Bean
  OAuth2TokenCustomizer<JwtEncodingContext> tokens() {
    return context -> {
      context.getJwsHeader().algorithm(algorithm);
      String client = context.getRegisteredClient().getClientId();
      if (client.startsWith("plain") || !OAuth2TokenType.ACCESS_TOKEN.equals(context.getTokenType())) return;
      context.getJwsHeader().type("at+jwt");
      context.getClaims().audience(List.of(API)).claim("client_id", client)
          .claim("gty", context.getAuthorizationGrantType().getValue());
    };
  }

  @Bean
  @Order(1)
  SecurityFilterChain testEndpoints(HttpSecurity http) throws Exception {
    return http.securityMatcher("/test/**").csrf(csrf -> csrf.disable())
        .authorizeHttpRequests(requests -> requests.anyRequest().permitAll()).build();
  }

  @Bean
  @Order(2)
  SecurityFilterChain everything(HttpSecurity http) throws Exception {
    return http.oauth2AuthorizationServer(server -> server.oidc(Customizer.withDefaults()))
        .authorizeHttpRequests(requests -> requests.anyRequest().authenticated())
        .formLogin(Customizer.withDefaults()).build();
  }

  @Bean
  UserDetailsService users() {
    return new InMemoryUserDetailsManager(
        User.withUsername("ann").password("{noop}password-of-ann").roles("USER").build());
  }

  @Bean
  RegisteredClientRepository clients(Environment environment) {
    String clientKeysUrl = "http://127.0.0.1:" + environment.getRequiredProperty("server.port") + "/test/client-keys";
    AuthorizationGrantType own = AuthorizationGrantType.CLIENT_CREDENTIALS;
    Consumer<RegisteredClient.Builder> person = client -> client
        .authorizationGrantType(AuthorizationGrantType.AUTHORIZATION_CODE)
        .authorizationGrantType(AuthorizationGrantType.REFRESH_TOKEN)
        .redirectUri("http://127.0.0.1/callback").scope("openid")
        .clientSettings(ClientSettings.builder().requireProofKey(false).build());
    return new InMemoryRegisteredClientRepository(
        client("billing", builder -> builder.authorizationGrantType(own)),
        client("plain-billing", builder -> builder.authorizationGrantType(own)),
        client("opaque-billing", builder -> builder.authorizationGrantType(own).tokenSettings(
            TokenSettings.builder().accessTokenFormat(OAuth2TokenFormat.REFERENCE).build())),
        client("billing-key", builder -> builder.authorizationGrantType(own)
            .clientAuthenticationMethods(methods -> {
              methods.clear();
              methods.add(ClientAuthenticationMethod.PRIVATE_KEY_JWT);
            })
            .clientSettings(ClientSettings.builder().jwkSetUrl(clientKeysUrl)
                .tokenEndpointAuthenticationSigningAlgorithm(SignatureAlgorithm.RS256).build())),
        client("exchanger", builder -> builder.authorizationGrantType(AuthorizationGrantType.TOKEN_EXCHANGE)),
        client("web", person),
        client("plain-web", person));
  }

  private static RegisteredClient client(String id, Consumer<RegisteredClient.Builder> more) {
    RegisteredClient.Builder builder = RegisteredClient.withId(id).clientId(id).clientSecret("{noop}" + id + "-secret")
        .clientAuthenticationMethod(ClientAuthenticationMethod.CLIENT_SECRET_BASIC)
        .clientAuthenticationMethod(ClientAuthenticationMethod.CLIENT_SECRET_POST)
        .scope("orders:read")
        .tokenSettings(TokenSettings.builder().accessTokenTimeToLive(Duration.ofHours(25)).build());
    more.accept(builder);
    return builder.build();
  }
}
