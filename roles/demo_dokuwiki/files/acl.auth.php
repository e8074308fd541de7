# acl.auth.php
# <?php exit()?>
# Everybody reads; who has logged in edits, uploads and deletes.
*	@ALL	1
*	@user	16
