
# --- Added by the interop suite ---
$wgRCFeeds = [];
__FEEDS__
$wgCdnServers = [ '127.0.0.1' ]; # so that X-Forwarded-For gives each anonymous editor an address of its own
$wgUseRCPatrol = true;
$wgRCWatchCategoryMembership = true; # changes of type "categorize", from the job queue
$wgPageLanguageUseDB = true;
$wgEnableUploads = true;
$wgFileExtensions = [ 'png' ];
$wgJobRunRate = 0; # jobs run when the script says so
$wgMainCacheType = CACHE_NONE;
$wgRateLimits = [];
$wgPasswordAttemptThrottle = [];
$wgEnableEmail = false;
$wgShowExceptionDetails = true;
$wgGroupPermissions['sysop']['deleterevision'] = true;
$wgGroupPermissions['sysop']['deletelogentry'] = true;
$wgGroupPermissions['sysop']['mergehistory'] = true;
$wgGroupPermissions['sysop']['pagelang'] = true;
$wgGroupPermissions['user']['changetags'] = true;

# A third feed beside those of the core: each saved change as the element <rc> that the API lists it as, with the id of
# the wiki in its last attribute. This is the datagram of the extension XMLRC, which Debian does not package.
$interopAddresses = [ __RC__];
if ( $interopAddresses ) {
	$wgHooks['RecentChange_save'][] = static function ( RecentChange $rc ) use ( $interopAddresses ) {
		$row = (object)$rc->getAttributes();
		$row->rc_comment_text = $row->rc_comment;
		$row->rc_comment_data = $row->rc_comment_cid = null;
		$row->actor_name = $row->rc_user_text;
		$row->actor_user = $row->rc_user;
		$row->page_is_redirect = $rc->getTitle() && $rc->getTitle()->isRedirect();
		# The tags are private until they are stored, which is after this hook.
		$row->ts_tags = implode( ',', ( function () {
			return $this->tags;
		} )->call( $rc ) );

		$main = new ApiMain( new FauxRequest( [ 'action' => 'query', 'list' => 'recentchanges' ] ) );
		$query = $main->getModuleManager()->getModule( 'query' );
		$changes = $query->getModuleManager()->getModule( 'recentchanges', 'list' );
		$changes->initProperties( array_flip( explode( '|',
			'user|comment|flags|timestamp|title|ids|sizes|redirect|loginfo|tags' ) ) );
		$values = $changes->extractRowInfo( $row );
		$values['wikiid'] = WikiMap::getCurrentWikiId();
		if ( $values['tags'] === [] ) {
			unset( $values['tags'] );
		}

		$result = new ApiResult( false );
		$result->addValue( null, 'rc', $values, ApiResult::NO_SIZE_CHECK );
		$xml = ApiFormatXml::recXmlPrint( 'rc', $result->getResultData( [ 'rc' ], [
			'BC' => [ 'nobool', 'no*', 'nosub' ],
			'Types' => [ 'ArmorKVP' => '_name' ],
		] ), 0 );
		$socket = socket_create( AF_INET, SOCK_DGRAM, SOL_UDP );
		foreach ( $interopAddresses as $address ) {
			[ $host, $port ] = explode( ':', $address );
			socket_sendto( $socket, trim( $xml ), strlen( trim( $xml ) ), 0, $host, (int)$port );
		}
		socket_close( $socket );
	};
}
