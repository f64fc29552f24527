// The container's door: `node dist/main.js` is `service-token-broker serve`.
process.argv.splice(2, 0, 'serve');
await import('./cli.js');
